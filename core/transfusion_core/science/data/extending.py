"""A version that extends another: the images of both, read from the other's pack and from what is new.

What the parent has keeps its split, label and patient, unless a new file has the very same bytes, which then stands in
its place. A patient is told from the parent's by the parent's salt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from transfusion_core.errors import DataError
from transfusion_core.science.data.pack import Encoded, Pack
from transfusion_core.science.data.pseudonyms import Pseudonyms
from transfusion_core.science.data.samples import SPLITS, Label, Listing, Sample, class_order
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.manifest import ManifestRow, read_manifest

_KNOWN = "\0"
"""Begins what stands for a patient of the parent while a version is made: no id begins so."""


@dataclass(frozen=True)
class Parent:
    """The version that is extended."""

    pack: Pack
    rows: list[ManifestRow]
    """In the order of the pack, which is sorted by the files' sha256 as well."""
    pseudonyms: Pseudonyms

    @classmethod
    def read(cls, pack: Path, manifest: Path, salt: bytes) -> "Parent":
        """What an ingest left. DataError for images that came as arrays, which nothing can be added to."""
        with manifest.open("rb") as file:
            rows = list(read_manifest(file))
        found = Pack.read(pack)
        if not isinstance(found.images, Encoded):
            raise DataError("a version whose images came as an array cannot be extended; register the whole array")
        return cls(found, rows, Pseudonyms(salt))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The parent's patients, hashed, by their number."""
        known = self.pack.patients.tolist() if self.pack.patients is not None else []
        return dict(zip((row.patient for row in self.rows), known, strict=False))

    @cached_property
    def _by_number(self) -> dict[int, str]:
        return {number: patient for patient, number in self.numbers.items()}

    def joined(self, listing: Listing, tree: Tree, task: Task) -> "tuple[Listing, Tree]":
        """The parent's images and the new ones, and where all of them are read from."""
        self._check(listing, task)
        classes = self._classes(listing.classes)
        old = [self._sample(place, classes) for place in range(len(self.pack))]
        new = [self._told(sample, listing.classes, classes) for sample in listing.samples]
        return Listing([*old, *new], classes, listing.faults), _Joined(tree, self.pack)

    def patient(self, told: str) -> str:
        """What is stored for a patient of the new version."""
        if told.startswith(_KNOWN):
            return self._by_number[int(told[1:])]
        return self.pseudonyms.of(told)

    def _check(self, listing: Listing, task: Task) -> None:
        if task != self.pack.task:
            raise DataError(f"the version that is extended is {self.pack.task}, not {task}")
        named = any(sample.patient is not None for sample in listing.samples)
        if listing.samples and named != (self.pack.patients is not None):
            raise DataError(
                "the version that is extended names its patients, what is new does not"
                if not named
                else "what is new names patients, the version that is extended does not"
            )

    def _classes(self, new: Sequence[str]) -> list[str]:
        if self.pack.task != "multilabel":
            return class_order([*self.pack.classes, *new])
        if set(new) != set(self.pack.classes):
            raise DataError(f"expected the labels {self.pack.classes} of the version that is extended, got {list(new)}")
        return self.pack.classes

    def _sample(self, place: int, classes: Sequence[str]) -> Sample:
        row, patients = self.rows[place], self.pack.patients
        code = self.pack.labels[place].tolist()
        return Sample(
            file=f"{_KNOWN}{place}",
            label=tuple(code) if isinstance(code, list) else classes.index(self.pack.classes[code]),
            split=SPLITS[int(self.pack.split[place])],
            patient=None if patients is None else f"{_KNOWN}{int(patients[place]):09}",
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


class _Joined:
    """The new files, and the parent's images as its pack has them."""

    def __init__(self, tree: Tree, pack: Pack) -> None:
        self._tree, self._pack = tree, pack

    def files(self) -> list[str]:
        return self._tree.files()

    def everything(self) -> list[str]:
        return self._tree.everything()

    def holds(self, path: str) -> bool:
        return self._tree.holds(path)

    def read(self, path: str) -> bytes:
        if not path.startswith(_KNOWN):
            return self._tree.read(path)
        assert isinstance(self._pack.images, Encoded)
        return self._pack.images.file(int(path[1:]))
