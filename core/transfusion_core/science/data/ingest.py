"""Ingest: from what a user has to a pack, every file opened and checked, every fault listed.

The digest is sha256 over the images as they came (bytes of files, pixels of arrays), labels, patient grouping,
split, task and classes. It does not depend on the machine, nor, for files, on their names or order: files are
put in an order of their content first, and splits are drawn in that order.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.batching import Keep
from transfusion_core.science.data.extending import Parent
from transfusion_core.science.data.images import Look, narrowed
from transfusion_core.science.data.manifest import manifest_of
from transfusion_core.science.data.opening import open_samples
from transfusion_core.science.data.pack import Kept, PackWriter
from transfusion_core.science.data.pixels import PixelsWriter, Square
from transfusion_core.science.data.pseudonyms import Pseudonyms
from transfusion_core.science.data.readers.csv_manifest import list_manifest
from transfusion_core.science.data.readers.folder import check_classes, list_folder
from transfusion_core.science.data.readers.layouts import LAYOUTS, list_layout
from transfusion_core.science.data.readers.npz import read_npz
from transfusion_core.science.data.recipes import RECIPES
from transfusion_core.science.data.recipes.canvas import Drawn
from transfusion_core.science.data.resizing import squared
from transfusion_core.science.data.samples import SPLITS, Arrays, Label, Listing, Sample, hash_of_pixels
from transfusion_core.science.data.splits import Shares, assign, extend
from transfusion_core.science.data.tree import Tree, open_tree
from transfusion_core.specs.dataset import (
    ColumnsSpec,
    DatasetSpec,
    FileFault,
    IngestResult,
    Pixels,
    RecipeSpec,
    Split,
    StoredObject,
    Task,
)
from transfusion_core.specs.fault import Fault

Progress = Callable[[int, int], None]
"""Called with how many images are done, and of how many."""

_SHOWN = 20
_RESOLUTIONS = 10
_EVERY = 50


class IngestFaults(DataError):
    """Some files or rows cannot be used."""

    code: ClassVar[str] = "data_files"

    def __init__(
        self,
        detail: str | None = None,
        *,
        files: Sequence[FileFault] = (),
        faults: Sequence[Fault] = (),
        request_id: str | None = None,
    ) -> None:
        shown = [Fault(pointer="", message=_line(file), value=file.file) for file in files[:_SHOWN]]
        super().__init__(detail, faults=[*faults, *shown], request_id=request_id)
        self.files = list(files)


class _Writer:
    """Takes images, as they come, into the store: to the pack, and to pixels of each size."""

    def __init__(self, keep: Keep, sizes: Sequence[int], stack: ExitStack) -> None:
        self._pack = stack.enter_context(PackWriter(keep))
        self._pixels = [stack.enter_context(PixelsWriter(size, keep)) for size in sizes]

    def add(self, image: Kept, squares: Sequence[Square]) -> None:
        self._pack.add(image, size_bytes=len(image) if isinstance(image, bytes) else image.nbytes)
        for pixels, square in zip(self._pixels, squares, strict=True):
            pixels.add_image(square)

    def end(self) -> tuple[list[StoredObject], list[Pixels]]:
        return self._pack.end(), [pixels.pixels() for pixels in self._pixels]


@dataclass(frozen=True)
class _Row:
    """An image that was opened."""

    sample: Sample
    look: Look
    hash: bytes
    place: int
    """In the pack."""

    def split_by(self, replaced: dict[bytes, Split | None]) -> "_Row":
        """With the split of the image that it stands in the place of, unless it has its own."""
        split = self.sample.split or replaced.get(self.hash)
        return self if split == self.sample.split else replace(self, sample=replace(self.sample, split=split))

    def order(self) -> tuple[bytes, str, str, str]:
        """Sorts by content, so that names and the order on disk do not matter."""
        return self.hash, repr(self.sample.label), self.sample.split or "", self.sample.patient or ""


@dataclass(frozen=True)
class _Collected:
    """Images of any origin, in their final order."""

    names: list[str]
    places: list[int]
    """Of each image in the pack, (n,)."""
    hashes: list[bytes]
    """sha256 of each image as it came, (n,)."""
    labels: NDArray[np.int64] | NDArray[np.float32]
    classes: list[str]
    splits: list[Split | None]
    patients: list[str] | None
    grey: bool
    sizes: list[tuple[int, int]]
    """Width and height of each image, (n,)."""
    faults: list[FileFault] = field(default_factory=list)


def ingest(
    spec: DatasetSpec,
    *,
    source: Path | None,
    keep: Keep,
    parent: Parent | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> IngestResult:
    """Read `spec` (resolved) from `source` (its location on this machine; None for a recipe); `keep` takes what of it
    is stored, while more is read: memory does not grow with the number of files.

    The images of a `parent` are in it too, with the splits they have. Images are decoded by so many processes apart as
    there are `threads`.

    Raises IngestFaults where files cannot be used and `skip_unreadable` is not set, DataError for all else.
    """
    if spec.task is None:
        raise ValueError("expected a resolved spec: its task is None")
    pseudonyms = parent.pseudonyms if parent else Pseudonyms()
    with ExitStack() as stack:
        writer = _Writer(keep, spec.image_sizes, stack)
        whose = _Whose(pseudonyms, parent)
        found = _collect(spec, spec.task, source, writer, threads, progress or _ignore, whose=whose)
        pack, pixels = writer.end()
    if not found.names:
        raise DataError("there are no images that can be used")
    codes = _split(found, spec, extending=parent is not None)
    annotations = _annotations(found, spec.task, codes)
    manifest = manifest_of(annotations, hashes=found.hashes, sizes=found.sizes, patients=whose.stored(found.patients))
    resolutions = Counter(f"{width}x{height}" for width, height in found.sizes)
    return IngestResult(
        digest=_digest(spec.task, found, codes),
        task=spec.task,
        images=len(annotations),
        classes=found.classes,
        splits={split: int((codes == code).sum()) for code, split in enumerate(SPLITS)},
        channels=1 if found.grey else 3,
        resolutions=dict(resolutions.most_common(_RESOLUTIONS)),
        class_counts={split: _counts(found, codes == code) for code, split in enumerate(SPLITS)},
        across_splits={"patients": _across(found.patients or [], codes), "files": _across(found.hashes, codes)},
        faults=found.faults,
        manifest=keep(manifest, "manifest.csv"),
        salt=pseudonyms.salt.hex() if found.patients else "",
        annotations=keep(annotations.write(), "annotations.safetensors"),
        pack=pack,
        pixels=pixels,
    )


def _split(found: _Collected, spec: DatasetSpec, *, extending: bool) -> NDArray[np.uint8]:
    """The code of each image's split, (n,)."""
    codes = (extend if extending else assign)(
        found.splits,
        strata=_strata(found.labels),
        patients=found.patients,
        seed=spec.split_seed,
        shares=Shares(val=spec.val_share, test=spec.test_share),
        shared_patients=spec.allow_shared_patients,
    )
    _check_labels(found, codes)
    return codes


def _annotations(found: _Collected, task: Task, codes: NDArray[np.uint8]) -> Annotations:
    return Annotations(
        labels=torch.from_numpy(found.labels),
        split=torch.from_numpy(codes),
        names=found.names,
        task=task,
        classes=found.classes,
        places=torch.tensor(found.places),
        patients=torch.tensor(_numbered(found.patients)) if found.patients else None,
    )


@dataclass(frozen=True)
class _Whose:
    """What is stored for patients, and the version whose images and patients are there already."""

    pseudonyms: Pseudonyms
    parent: Parent | None

    def stored(self, patients: list[str] | None) -> list[str] | None:
        told = self.parent.patient if self.parent else self.pseudonyms.of
        return [told(patient) for patient in patients] if patients else None


def _across(units: Sequence[str] | Sequence[bytes], codes: NDArray[np.uint8]) -> int:
    """How many patients, or files of the same bytes, are in more than one split."""
    met = Counter(unit for unit, _ in set(zip(units, codes.tolist(), strict=False)))
    return sum(splits > 1 for splits in met.values())


def _collect(
    spec: DatasetSpec,
    task: Task,
    source: Path | None,
    writer: _Writer,
    threads: int,
    progress: Progress,
    *,
    whose: _Whose,
) -> _Collected:
    if spec.recipe is not None:
        return _from_recipe(spec.recipe, spec, writer, progress)
    if source is None:
        raise ValueError(f"a dataset of kind {spec.kind!r} needs a source")
    if spec.kind == "npz":
        arrays = read_npz(source, task=task)
        whole = whose.parent.joined_arrays(arrays, task) if whose.parent else arrays
        return _from_arrays(whole, spec, writer, progress)
    with _tree_of(spec, source) as tree:
        listing = whose.pseudonyms.named(_listed(spec, task, source, tree))
        listed, joined = whose.parent.joined(listing, tree, task) if whose.parent else (listing, tree)
        if spec.kind == "folder":
            check_classes(listed)
        return _from_files(listed, joined, spec, writer, threads, progress)


@contextmanager
def _tree_of(spec: DatasetSpec, source: Path) -> Iterator[Tree]:
    """The tree that files are relative to: for a location that is a manifest itself, its folder."""
    with open_tree(source.parent if _is_manifest(spec, source) else source) as tree:
        yield tree


def _is_manifest(spec: DatasetSpec, source: Path) -> bool:
    return spec.kind == "csv" and source.is_file() and source.suffix.lower() == ".csv"


def _listed(spec: DatasetSpec, task: Task, source: Path, tree: Tree) -> Listing:
    if spec.kind in LAYOUTS:
        return list_layout(tree, spec)
    if spec.kind == "folder":
        return list_folder(tree, task=task)
    manifest = source.name if _is_manifest(spec, source) else spec.manifest
    return list_manifest(tree, manifest=manifest, columns=spec.columns or ColumnsSpec(), task=task)


def _from_files(
    listing: Listing, tree: Tree, spec: DatasetSpec, writer: _Writer, threads: int, progress: Progress
) -> _Collected:
    faults: list[FileFault] = list(listing.faults)
    rows: list[_Row] = []
    newer: set[bytes] = set()
    replaced: dict[bytes, Split | None] = {}
    samples = open_samples(listing, tree, burned_in=spec.burned_in, sizes=spec.image_sizes, threads=threads)
    for done, one in enumerate(samples, start=1):
        if isinstance(one, FileFault):
            faults.append(one)
        elif one.sample.sha256 in newer:  # an inherited image, the bytes of which a new file has
            replaced[one.hash] = one.sample.split
        elif spec.skip_unreadable or not faults:  # else it is only looked for more faults
            newer |= {one.hash} if one.sample.sha256 is None else set()
            writer.add(one.data, one.squares)
            rows.append(_Row(one.sample, one.look, one.hash, place=len(rows)))
        _report(progress, done, len(listing.samples))
    if faults and not spec.skip_unreadable:
        raise IngestFaults(
            f"{len(faults)} of {len(listing.samples) + len(listing.faults)} files or rows cannot be used "
            "(skip_unreadable leaves them out)",
            files=faults,
        )
    rows = [row.split_by(replaced) for row in rows]
    rows.sort(key=_Row.order)
    return _Collected(
        names=[row.sample.name or row.sample.file for row in rows],
        places=[row.place for row in rows],
        hashes=[row.hash for row in rows],
        labels=_label_array([row.sample.label for row in rows]),
        classes=listing.classes,
        splits=[row.sample.split for row in rows],
        patients=_patients([row.sample for row in rows]),
        grey=all(row.look.grey for row in rows),
        sizes=[(row.look.width, row.look.height) for row in rows],
        faults=faults,
    )


def _from_recipe(recipe: RecipeSpec, spec: DatasetSpec, writer: _Writer, progress: Progress) -> _Collected:
    """Drawn, and given to the store, a few at a time."""
    parts: list[Drawn] = []

    def images() -> Iterator[NDArray[np.uint8]]:
        for part in RECIPES[recipe.name](recipe.images, seed=recipe.seed, size=recipe.size):
            parts.append(replace(part, images=np.empty((0, *part.images.shape[1:]), np.uint8)))
            yield from part.images

    shape = (recipe.size, recipe.size, 3)
    arrays = Arrays(images(), shape, labels=np.empty(0, np.int64), classes=[], splits=[None] * recipe.images)
    found = _from_arrays(arrays, spec, writer, progress)
    return replace(found, labels=Drawn.whole(parts).labels, classes=parts[0].classes)


def _from_arrays(arrays: Arrays, spec: DatasetSpec, writer: _Writer, progress: Progress) -> _Collected:
    hashes: list[bytes] = []
    grey = True
    for done, each in enumerate(arrays.images, start=1):
        image = np.ascontiguousarray(each)
        narrow = narrowed(image)
        grey = grey and narrow.shape[-1] == 1
        hashes.append(hash_of_pixels(image))
        writer.add(image, [squared(narrow, size) for size in spec.image_sizes])
        _report(progress, done, len(arrays.splits))
    height, width, _ = arrays.shape
    return _Collected(
        names=arrays.names or [f"{split or 'image'}/{position}" for position, split in enumerate(arrays.splits)],
        places=list(range(len(hashes))),
        hashes=hashes,
        labels=arrays.labels,
        classes=arrays.classes,
        splits=arrays.splits,
        patients=None,
        grey=grey,
        sizes=[(width, height)] * len(hashes),
    )


def _label_array(labels: list[Label]) -> NDArray[np.int64] | NDArray[np.float32]:
    several = bool(labels) and isinstance(labels[0], tuple)
    return np.array(labels, np.float32) if several else np.array(labels, np.int64)


def _patients(samples: list[Sample]) -> list[str] | None:
    known = [sample.patient for sample in samples if sample.patient is not None]
    return known if known else None


def _strata(labels: NDArray[np.int64] | NDArray[np.float32]) -> list[tuple[float, ...]]:
    """Labels that can be compared: NaN is not equal to itself, -1 is."""
    rows = np.nan_to_num(labels.reshape(len(labels), -1).astype(np.float64), nan=-1)
    return [tuple(row) for row in rows.tolist()]


def _check_labels(found: _Collected, codes: NDArray[np.uint8]) -> None:
    """Every split must be able to tell something from something else."""
    for code, split in enumerate(SPLITS):
        labels = found.labels[codes == code]
        columns = labels.T if labels.ndim == 2 else labels[None]
        if not any(len(np.unique(column[~np.isnan(column)])) > 1 for column in columns):
            raise DataError(f"split {split!r} has images of one class only: nothing can be measured on it")


def _counts(found: _Collected, rows: NDArray[np.bool_]) -> dict[str, int]:
    labels = found.labels[rows]
    if labels.ndim == 2:
        return {name: int((labels[:, column] == 1).sum()) for column, name in enumerate(found.classes)}
    return {name: int((labels == index).sum()) for index, name in enumerate(found.classes)}


def _digest(task: Task, found: _Collected, codes: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(repr(("dataset 1", task, found.classes)).encode())
    patients = _numbered(found.patients) if found.patients else [-1] * len(found.hashes)
    for row, image in enumerate(found.hashes):
        label = [None if math.isnan(value) else float(value) for value in np.atleast_1d(found.labels[row]).tolist()]
        digest.update(image + repr((label, int(codes[row]), patients[row])).encode())
    return digest.hexdigest()


def _numbered(patients: Sequence[str]) -> list[int]:
    """Patients as numbers, in the order in which they come."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(patient, len(numbers)) for patient in patients]


def _report(progress: Progress, done: int, total: int) -> None:
    if done % _EVERY == 0 or done == total:
        progress(done, total)


def _ignore(done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _line(file: FileFault) -> str:
    return f"{file.file}: {file.message}" if file.row is None else f"row {file.row}, {file.file}: {file.message}"
