"""Ingest: from what a user has to a pack, every file opened and checked, every fault listed.

The digest is sha256 over the images as they came (bytes of files, pixels of arrays), labels, patient grouping,
split, task and classes. It does not depend on the machine, nor, for files, on their names or order: files are
put in an order of their content first, and splits are drawn in that order.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.extending import Parent
from transfusion_core.science.data.images import is_grey
from transfusion_core.science.data.manifest import write_manifest
from transfusion_core.science.data.opening import Opened, open_samples
from transfusion_core.science.data.pack import Encoded, Pack
from transfusion_core.science.data.pseudonyms import Pseudonyms
from transfusion_core.science.data.readers.csv_manifest import list_manifest
from transfusion_core.science.data.readers.folder import list_folder
from transfusion_core.science.data.readers.layouts import LAYOUTS, list_layout
from transfusion_core.science.data.readers.npz import read_npz
from transfusion_core.science.data.recipes import RECIPES
from transfusion_core.science.data.samples import SPLITS, Arrays, Label, Listing, Sample
from transfusion_core.science.data.splits import Shares, assign, extend
from transfusion_core.science.data.tree import Tree, open_tree
from transfusion_core.specs.dataset import ColumnsSpec, DatasetSpec, FileFault, Split, Task
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
        self, detail: str | None = None, *, files: Sequence[FileFault] = (), faults: Sequence[Fault] = ()
    ) -> None:
        shown = [Fault(pointer="", message=_line(file), value=file.file) for file in files[:_SHOWN]]
        super().__init__(detail, faults=[*faults, *shown])
        self.files = list(files)


@dataclass(frozen=True)
class Ingested:
    """What an ingest found; the fields of `specs.dataset.IngestResult` but for the stored pack."""

    digest: str
    task: Task
    images: int
    classes: list[str]
    splits: dict[str, int]
    channels: int
    resolutions: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    across_splits: dict[Literal["patients", "files"], int]
    salt: str = field(compare=False)
    """Random; see `pseudonyms`."""
    faults: list[FileFault] = field(default_factory=list)


@dataclass(frozen=True)
class _Collected:
    """Images of any origin, in their final order."""

    images: Encoded | torch.Tensor
    names: list[str]
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
    out: Path,
    manifest: Path | None = None,
    parent: Parent | None = None,
    progress: Progress | None = None,
    threads: int = 1,
) -> Ingested:
    """Read `spec` (resolved) from `source` (its location on this machine; None for a recipe) and write a pack to `out`.

    A `manifest` of it is written besides, if wanted. The images of a `parent` come first, with the splits they have.
    Images are decoded by so many processes apart as there are `threads`.

    Raises IngestFaults where files cannot be used and `skip_unreadable` is not set, DataError for all else.
    """
    if spec.task is None:
        raise ValueError("expected a resolved spec: its task is None")
    pseudonyms = parent.pseudonyms if parent else Pseudonyms()
    found = _collect(spec, spec.task, source, threads, progress or _ignore, pseudonyms=pseudonyms, parent=parent)
    if not found.names:
        raise DataError("there are no images that can be used")
    codes = (extend if parent else assign)(
        found.splits,
        strata=_strata(found.labels),
        patients=found.patients,
        seed=spec.split_seed,
        shares=Shares(val=spec.val_share, test=spec.test_share),
        shared_patients=spec.allow_shared_patients,
    )
    _check_labels(found, codes)
    pack = Pack(
        images=found.images,
        labels=torch.from_numpy(found.labels),
        split=torch.from_numpy(codes),
        names=found.names,
        task=spec.task,
        classes=found.classes,
        channels=1 if found.grey else 3,
        patients=torch.tensor(_numbered(found.patients)) if found.patients else None,
    )
    pack.write(out)
    if manifest:
        told = parent.patient if parent else pseudonyms.of
        patients = [told(patient) for patient in found.patients] if found.patients else None
        write_manifest(manifest, pack, hashes=found.hashes, sizes=found.sizes, patients=patients)
    return _summary(pack, found, codes, salt=pseudonyms.salt.hex())


def _summary(pack: Pack, found: _Collected, codes: NDArray[np.uint8], *, salt: str) -> Ingested:
    resolutions = Counter(f"{width}x{height}" for width, height in found.sizes)
    return Ingested(
        digest=_digest(pack.task, found, codes),
        task=pack.task,
        images=len(pack),
        classes=pack.classes,
        splits={split: int((codes == code).sum()) for code, split in enumerate(SPLITS)},
        channels=pack.channels,
        resolutions=dict(resolutions.most_common(_RESOLUTIONS)),
        class_counts={split: _counts(found, codes == code) for code, split in enumerate(SPLITS)},
        across_splits={"patients": _across(found.patients or [], codes), "files": _across(found.hashes, codes)},
        salt=salt,
        faults=found.faults,
    )


def _across(units: Sequence[str] | Sequence[bytes], codes: NDArray[np.uint8]) -> int:
    """How many patients, or files of the same bytes, are in more than one split."""
    met = Counter(unit for unit, _ in set(zip(units, codes.tolist(), strict=False)))
    return sum(splits > 1 for splits in met.values())


def _collect(
    spec: DatasetSpec,
    task: Task,
    source: Path | None,
    threads: int,
    progress: Progress,
    *,
    pseudonyms: Pseudonyms,
    parent: Parent | None,
) -> _Collected:
    if spec.recipe is not None:
        drawn = RECIPES[spec.recipe.name](spec.recipe.images, seed=spec.recipe.seed, size=spec.recipe.size)
        arrays = Arrays(drawn.images, drawn.labels, drawn.classes, [None] * len(drawn.images))
        return _from_arrays(arrays, progress)
    if source is None:
        raise ValueError(f"a dataset of kind {spec.kind!r} needs a source")
    if spec.kind == "npz":
        return _from_arrays(read_npz(source, task=task), progress)
    with _tree_of(spec, source) as tree:
        listing = pseudonyms.named(_listed(spec, task, source, tree))
        whole, joined = parent.joined(listing, tree, task) if parent else (listing, tree)
        return _from_files(whole, joined, spec, threads, progress)


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


def _from_files(listing: Listing, tree: Tree, spec: DatasetSpec, threads: int, progress: Progress) -> _Collected:
    faults, opened = list(listing.faults), []
    for done, one in enumerate(open_samples(listing, tree, burned_in=spec.burned_in, threads=threads), start=1):
        if isinstance(one, Opened):
            opened.append(one)
        else:
            faults.append(one)
        _report(progress, done, len(listing.samples))
    if faults and not spec.skip_unreadable:
        raise IngestFaults(
            f"{len(faults)} of {len(listing.samples) + len(listing.faults)} files or rows cannot be used "
            "(skip_unreadable leaves them out)",
            files=faults,
        )
    opened = _newest(opened)
    opened.sort(key=Opened.order)
    samples, looks = [one.sample for one in opened], [one.cleaned.look for one in opened]
    return _Collected(
        images=Encoded.of([one.cleaned.data for one in opened]),
        names=[sample.name or sample.file for sample in samples],
        hashes=[one.hash for one in opened],
        labels=_label_array([sample.label for sample in samples]),
        classes=listing.classes,
        splits=[sample.split for sample in samples],
        patients=_patients(samples),
        grey=all(look.grey for look in looks),
        sizes=[(look.width, look.height) for look in looks],
        faults=faults,
    )


def _newest(opened: list[Opened]) -> list[Opened]:
    """Without the inherited images that a new file has the bytes of; that keeps their split, unless it has its own."""
    newer = {one.hash for one in opened if one.sample.sha256 is None}
    splits = {one.hash: one.sample.split for one in opened if one.sample.sha256 is not None and one.hash in newer}
    return [
        replace(one, sample=replace(one.sample, split=one.sample.split or splits[one.hash]))
        if one.hash in splits
        else one
        for one in opened
        if one.sample.sha256 is None or one.hash not in newer
    ]


def _from_arrays(arrays: Arrays, progress: Progress) -> _Collected:
    images = np.ascontiguousarray(arrays.images)
    height, width, channels = images.shape[1:]
    hashes = []
    for done, image in enumerate(images):
        hashes.append(hashlib.sha256(f"{width}x{height}x{channels}:".encode() + image.tobytes()).digest())
        _report(progress, done + 1, len(images))
    return _Collected(
        images=torch.from_numpy(images),
        names=[f"{split or 'image'}/{position}" for position, split in enumerate(arrays.splits)],
        hashes=hashes,
        labels=arrays.labels,
        classes=arrays.classes,
        splits=arrays.splits,
        patients=None,
        grey=is_grey(images),
        sizes=[(width, height)] * len(images),
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
