"""A version that extends another: the images of both, read from the other's pack and from what is new.

What the parent has keeps its split, label and patient, unless a new image is the very same, which then stands in its
place. A patient is told from the parent's by the parent's salt. Files are extended by files, arrays by arrays.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, compress

import numpy as np
import torch
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.data.pack import Kept
from transfusion_core.science.data.pseudonyms import Pseudonyms
from transfusion_core.science.data.samples import SPLITS, Arrays, Label, Listing, Sample, class_order, hash_of_pixels
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.manifest import ManifestRow, read_manifest

Labels = NDArray[np.int64] | NDArray[np.float32]
_KNOWN = "\0"
"""Begins what stands for a patient of the parent while a version is made: no id begins so."""


@dataclass(frozen=True)
class Parent:
    """The version that is extended."""

    annotations: Annotations
    rows: list[ManifestRow]
    """In the order of the annotations, which are sorted by the files' sha256 as well."""
    images: Iterator[Kept]
    """Of its pack, in the order in which they lie there; read once."""
    pseudonyms: Pseudonyms

    @classmethod
    def read(cls, annotations: Annotations, manifest: bytes, images: Iterable[Kept], salt: bytes) -> "Parent":
        """What an ingest of files left."""
        return cls(annotations, list(read_manifest([manifest])), iter(images), Pseudonyms(salt))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The parent's patients, hashed, by their number."""
        known = self.annotations.patients.tolist() if self.annotations.patients is not None else []
        return dict(zip((row.patient for row in self.rows), known, strict=False))

    @cached_property
    def _by_number(self) -> dict[int, str]:
        return {number: patient for patient, number in self.numbers.items()}

    def joined(self, listing: Listing, tree: Tree, task: Task) -> "tuple[Listing, Tree]":
        """The new images, then the parent's in the order of its pack, and where all of them are read from."""
        self._check(listing, task)
        classes = self._classes(listing.classes)
        new = [self._told(sample, listing.classes, classes) for sample in listing.samples]
        old = [self._sample(row, classes) for row in torch.argsort(self.annotations.places).tolist()]
        return Listing([*new, *old], classes, listing.faults), _Joined(tree, self.images)

    def joined_arrays(self, new: Arrays, task: Task) -> Arrays:
        """The parent's images in the order of its pack, and the new ones after them. Raises DataError."""
        self._check_task(task)
        images = (np.asarray(image) for image in self.images)
        first = next(images)
        if first.shape != new.shape:
            told = [" x ".join(map(str, shape)) for shape in (first.shape, new.shape)]
            raise DataError(f"expected images of {told[0]}, as in the version that is extended, got {told[1]}")
        classes, newer = self._classes(new.classes), {hash_of_pixels(image).hex() for image in new.images}
        order = torch.argsort(self.annotations.places).tolist()
        hashes = {row.file: row.sha256 for row in self.rows}  # those of arrays lie in the arrays' order, rows do not
        kept = [hashes[self.annotations.names[row]] not in newer for row in order]
        rows = [row for row, stays in zip(order, kept, strict=True) if stays]
        mine = _recoded(self.annotations.labels.numpy()[rows], self.annotations.classes, classes)
        numbered = enumerate(new.splits, start=len(order))
        return Arrays(
            images=chain(compress(chain([first], images), kept), new.images),
            shape=new.shape,
            labels=np.concatenate([mine, _recoded(new.labels, new.classes, classes)]),
            classes=classes,
            splits=[*(SPLITS[int(self.annotations.split[row])] for row in rows), *new.splits],
            names=[
                *(self.annotations.names[row] for row in rows),
                *(f"{split or 'image'}/{number}" for number, split in numbered),
            ],
        )

    def patient(self, told: str) -> str:
        """What is stored for a patient of the new version."""
        if told.startswith(_KNOWN):
            return self._by_number[int(told[1:])]
        return self.pseudonyms.of(told)

    def _check_task(self, task: Task) -> None:
        if task != self.annotations.task:
            raise DataError(f"the version that is extended is {self.annotations.task}, not {task}")

    def _check(self, listing: Listing, task: Task) -> None:
        self._check_task(task)
        named = any(sample.patient is not None for sample in listing.samples)
        if listing.samples and named != (self.annotations.patients is not None):
            raise DataError(
                "the version that is extended names its patients, what is new does not"
                if not named
                else "what is new names patients, the version that is extended does not"
            )

    def _classes(self, new: Sequence[str]) -> list[str]:
        old = self.annotations.classes
        if self.annotations.task == "multilabel" and set(new) != set(old):
            raise DataError(f"expected the labels {old} of the version that is extended, got {list(new)}")
        if self.annotations.task == "multilabel":
            return old
        return list(new) if set(new) >= set(old) else class_order([*old, *new])  # a spec may list them in its order

    def _sample(self, number: int, classes: Sequence[str]) -> Sample:
        row, patients = self.rows[number], self.annotations.patients
        code = self.annotations.labels[number].tolist()
        return Sample(
            file=f"{_KNOWN}{number}",
            label=tuple(code) if isinstance(code, list) else classes.index(self.annotations.classes[code]),
            split=SPLITS[int(self.annotations.split[number])],
            patient=None if patients is None else f"{_KNOWN}{int(patients[number]):09}",
            name=row.file,
            sha256=bytes.fromhex(row.sha256),
        )

    def _told(self, sample: Sample, theirs: Sequence[str], classes: Sequence[str]) -> Sample:
        """A new sample by the classes and the patients of both."""
        label: Label
        if isinstance(sample.label, tuple):
            values = dict(zip(theirs, sample.label, strict=True))
            label = tuple(values[name] for name in classes)
        else:
            label = classes.index(theirs[sample.label])
        number = self.numbers.get(self.pseudonyms.of(sample.patient)) if sample.patient is not None else None
        patient = sample.patient if number is None else f"{_KNOWN}{number:09}"
        return replace(sample, label=label, patient=patient)


def _recoded(labels: Labels, theirs: Sequence[str], classes: Sequence[str]) -> Labels:
    """Labels that stand for the names in `theirs`, by the places of those names in `classes`."""
    if labels.ndim == 2:
        return labels[:, [theirs.index(name) for name in classes]]
    return np.array([classes.index(name) for name in theirs], np.int64)[labels.astype(np.int64)]


class _Joined:
    """The new files, and after them the parent's images, one after another."""

    def __init__(self, tree: Tree, images: Iterator[Kept]) -> None:
        self._tree, self._images = tree, images

    def files(self) -> list[str]:
        return self._tree.files()

    def links(self) -> frozenset[str]:
        return self._tree.links()

    def everything(self) -> list[str]:
        return self._tree.everything()

    def holds(self, path: str) -> bool:
        return self._tree.holds(path)

    def read(self, path: str) -> bytes:
        if not path.startswith(_KNOWN):
            return self._tree.read(path)
        image = next(self._images)
        assert isinstance(image, bytes), "the API lets files extend files alone"
        return image
