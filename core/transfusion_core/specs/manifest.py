"""A version's manifest: its images one by one, a CSV file that is kept with the version, sorted by sha256.

It is the version's split manifest too. Patients stand in it as keyed hashes: who knows their ids and the salt can check
the split, and nobody can read an id off.
"""

import csv
import hmac
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from transfusion_core.specs.base import Record
from transfusion_core.specs.cells import as_it_was
from transfusion_core.specs.dataset import Shown, Task

LABEL = "label"
MOST_CHANGES = 100
"""So many changes of a kind at most are listed; all are counted."""
_PSEUDONYM_DIGITS = 32


@dataclass(frozen=True)
class ManifestRow:
    """One image of a version."""

    file: str
    sha256: str
    """Of the file as it came; of an array's image, of its size and pixels."""
    labels: dict[str, str]
    """`label`, or each label of a multilabel task: 1, 0 or nothing where it is missing."""
    split: str
    patient: str
    """A keyed hash; empty where patients are not known."""
    width: int
    height: int


class Standing(Record):
    """How an image stands in a version."""

    labels: dict[str, Shown]
    split: str


class ImageChange(Record):
    """An image that two versions do not have alike."""

    file: Shown
    sha256: str
    before: Standing | None
    after: Standing | None


class ImageChanges(Record):
    """Changes of one kind."""

    count: int = 0
    files: list[ImageChange] = []
    """The first of them."""


class DatasetDiff(Record):
    """What a version has otherwise than another one; images are the same where their files' bytes are."""

    name: str
    against: str
    digest: str
    against_digest: str
    same: bool
    """Whether the digests are equal."""
    unchanged: int
    added: ImageChanges
    removed: ImageChanges
    relabelled: ImageChanges
    moved: ImageChanges
    """Into another split."""


class PatientSalt(Record):
    """What the patients of a version are hashed with."""

    salt: str
    """Hexadecimal."""


def pseudonym(salt: bytes, patient: str) -> str:
    """What stands for a patient: the first digits of HMAC-SHA-256 of the id, as hexadecimal."""
    return hmac.new(salt, patient.encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:_PSEUDONYM_DIGITS]


def header(task: Task, classes: Sequence[str]) -> list[str]:
    """The columns of a manifest."""
    labels = [f"{LABEL}:{name}" for name in classes] if task == "multilabel" else [LABEL]
    return ["file", "sha256", *labels, "split", "patient", "width", "height"]


def read_manifest(pieces: Iterable[bytes]) -> Iterator[ManifestRow]:
    """The rows of a manifest that comes in pieces, one at a time."""
    table = csv.reader(_lines(pieces))
    columns = next(table)
    labels = [name.removeprefix(f"{LABEL}:") for name in columns[2:-4]]
    for file, sha256, *values, split, patient, width, height in table:
        told = dict(zip(labels, map(as_it_was, values), strict=True))
        yield ManifestRow(as_it_was(file), sha256, told, split, patient, int(width), int(height))


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from (f"{line.decode()}\n" for line in whole)
    if rest:
        yield rest.decode()


@dataclass
class Changes:
    """The parts of a DatasetDiff that manifests tell."""

    unchanged: int
    added: ImageChanges
    removed: ImageChanges
    relabelled: ImageChanges
    moved: ImageChanges


def changes(mine: Iterable[ManifestRow], theirs: Iterable[ManifestRow]) -> Changes:
    """What `mine` has otherwise than `theirs`; both are walked side by side, so that neither is held in memory."""
    found = Changes(0, ImageChanges(), ImageChanges(), ImageChanges(), ImageChanges())
    for before, after in _paired(mine, theirs):
        kinds = _kinds(before, after)
        found.unchanged += not kinds
        for kind in kinds:
            several: ImageChanges = getattr(found, kind)
            several.count += 1
            if len(several.files) < MOST_CHANGES:
                several.files.append(_change(before, after))
    return found


def _kinds(before: ManifestRow | None, after: ManifestRow | None) -> list[str]:
    if before is None or after is None:
        return ["added" if before is None else "removed"]
    relabelled = ["relabelled"] if before.labels != after.labels else []
    return relabelled + (["moved"] if before.split != after.split else [])


def _change(before: ManifestRow | None, after: ManifestRow | None) -> ImageChange:
    either = after or before
    assert either is not None
    return ImageChange(file=either.file, sha256=either.sha256, before=_standing(before), after=_standing(after))


def _standing(row: ManifestRow | None) -> Standing | None:
    return Standing(labels=row.labels, split=row.split) if row else None


def _paired(
    mine: Iterable[ManifestRow], theirs: Iterable[ManifestRow]
) -> Iterator[tuple[ManifestRow | None, ManifestRow | None]]:
    """Rows of the same bytes, theirs first, and those that only one side has."""
    by_bytes = attrgetter("sha256")
    ours, others = groupby(mine, by_bytes), groupby(theirs, by_bytes)
    mine_next, theirs_next = next(ours, None), next(others, None)
    while mine_next or theirs_next:
        least = min(each[0] for each in (mine_next, theirs_next) if each)
        after, before = [], []
        if mine_next and mine_next[0] == least:
            after, mine_next = list(mine_next[1]), next(ours, None)
        if theirs_next and theirs_next[0] == least:
            before, theirs_next = list(theirs_next[1]), next(others, None)
        yield from _matched(before, after)


def _matched(
    before: list[ManifestRow], after: list[ManifestRow]
) -> Iterator[tuple[ManifestRow | None, ManifestRow | None]]:
    """Copies of one image: those that stand alike first, then those of one label: no needless change is told."""
    kinds: tuple[Callable[[ManifestRow], object], ...] = (
        attrgetter("labels", "split"),
        attrgetter("labels"),
        lambda row: None,
    )
    for kind in kinds:
        for row in list(after):
            alike = next((each for each in before if kind(each) == kind(row)), None)
            if alike is not None:
                before.remove(alike)
                after.remove(row)
                yield alike, row
    yield from ((row, None) for row in before)
    yield from ((None, row) for row in after)
