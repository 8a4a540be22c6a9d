"""Versions that extend others: what is kept, what is drawn, and what cannot be added."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packs import Shelf
from transfusion_core.errors import DataError
from transfusion_core.science.data.extending import Parent
from transfusion_core.science.data.ingest import ingest
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.specs.dataset import DatasetSpec, IngestResult
from transfusion_core.specs.manifest import ManifestRow, changes, read_manifest

Png = Callable[..., bytes]
Row = tuple[int, str, str | None, str | None]
"""Number of an image, label, patient, split."""


def parent_of(shelf: Shelf, found: IngestResult) -> Parent:
    return Parent.read(
        shelf.annotations(found), shelf.kept["manifest.csv"], shelf.pack(found.pack), bytes.fromhex(found.salt)
    )


class Versions:
    """Versions in a folder, each made of rows."""

    def __init__(self, folder: Path, png: Png) -> None:
        self.folder, self.png = folder, png
        self.shelves: dict[str, Shelf] = {}
        self.found: dict[str, IngestResult] = {}

    def make(self, name: str, rows: list[Row], *, parent: str | None = None, **fields: Any) -> IngestResult:
        source = self.folder / f"{name} set"
        source.mkdir()
        columns = {"patient": "patient"} if rows[0][2] else {}
        columns |= {"split": "split"} if rows[0][3] else {}
        lines = ["file,label,patient,split"]
        for number, label, patient, split in rows:
            (source / f"{name}-{number}.png").write_bytes(self.png(number))
            lines.append(f"{name}-{number}.png,{label},{patient or ''},{split or ''}")
        (source / "labels.csv").write_text("\n".join(lines))
        spec = {"name": "d", "kind": "csv", "location": "file:///x", "columns": columns, "split_seed": 1, **fields}
        shelf = self.shelves[name] = Shelf()
        self.found[name] = ingest(
            DatasetSpec.model_validate(spec).resolved(),
            source=source,
            keep=shelf,
            parent=self.parent(parent) if parent else None,
        )
        return self.found[name]

    def parent(self, name: str) -> Parent:
        return parent_of(self.shelves[name], self.found[name])

    def rows(self, name: str) -> list[ManifestRow]:
        return list(read_manifest([self.shelves[name].kept["manifest.csv"]]))

    def splits(self, name: str) -> dict[str, str]:
        return {row.sha256: row.split for row in self.rows(name)}


@pytest.fixture
def versions(tmp_path: Path, png: Png) -> Versions:
    return Versions(tmp_path, png)


OLD: list[Row] = [(number, str(number % 2), f"p{number // 2}", None) for number in range(40)]


@pytest.mark.parametrize(
    ("old", "new", "listed", "classes"),
    [
        (["b", "a"], "bb", None, ["a", "b"]),
        (["b", "a"], "ac", None, ["a", "b", "c"]),
        (["b", "a"], "ab", ["b", "a"], ["b", "a"]),
        (None, "ab", ["c", "b", "a"], ["c", "b", "a"]),
        (None, "bb", ["b"], ["a", "b"]),
    ],
)
def test_classes_are_in_the_order_that_the_spec_lists_if_it_lists_all_of_both_versions(
    tmp_path: Path, png: Png, old: list[str] | None, new: str, listed: list[str] | None, classes: list[str]
) -> None:
    versions = Versions(tmp_path, png)
    given = {"columns": {"classes": old}} if old else {}
    versions.make("one", [(number, "ab"[number % 2], None, None) for number in range(20)], **given)
    given = {"columns": {"classes": listed}} if listed else {}
    rows: list[Row] = [(number, new[number % 2], None, None) for number in range(20, 40)]
    found = versions.make("two", rows, parent="one", **given)
    assert found.classes == classes
    truth = {f"one-{number}.png": "ab"[number % 2] for number in range(20)}
    truth |= {f"two-{number}.png": new[number % 2] for number in range(20, 40)}
    assert {row.file: row.labels["label"] for row in versions.rows("two")} == truth


def test_the_manifest_is_in_step_with_the_pack_and_free_of_patients(versions: Versions) -> None:
    found = versions.make("one", [(number, label, f"one-{number}", None) for number, label, _, _ in OLD])
    shelf, rows = versions.shelves["one"], versions.rows("one")
    pack = shelf.annotations(found)
    assert [row.sha256 for row in rows] == sorted(row.sha256 for row in rows)
    assert [(row.file, row.split) for row in rows] == [
        (name, ("train", "val", "test")[code]) for name, code in zip(pack.names, pack.split.tolist(), strict=True)
    ]
    assert {(row.width, row.height) for row in rows} == {(8, 8)}
    assert len({row.patient for row in rows}) == 40
    for kept in shelf.kept.values():
        assert b"one-" not in kept, "the id of a patient, which is the file's name too"
    assert len(bytes.fromhex(found.salt)) == 32


def test_words_that_a_spreadsheet_would_reckon_out_come_back_as_they_were(versions: Versions) -> None:
    versions.make("=1+1", [(number, ("-a", "@b")[number % 2], None, None) for number in range(40)])
    rows = versions.rows("=1+1")
    assert {row.labels["label"] for row in rows} == {"-a", "@b"}
    assert all(row.file.startswith("=1+1-") for row in rows)
    text = versions.shelves["=1+1"].kept["manifest.csv"].decode()
    assert all(line.startswith("'=1+1-") for line in text.splitlines()[1:])
    assert ",'-a," in text


def test_what_is_there_keeps_its_place_and_new_patients_are_drawn(versions: Versions) -> None:
    first = versions.make("one", OLD)
    second = versions.make("two", [(n, str(n % 2), f"q{n // 2}", None) for n in range(40, 80)], parent="one")
    before, after = versions.splits("one"), versions.splits("two")
    assert {sha256: after[sha256] for sha256 in before} == before
    assert second.images == 80
    assert all(second.splits[split] > first.splits[split] for split in first.splits)
    found = changes(versions.rows("two"), versions.rows("one"))
    assert (found.unchanged, found.added.count, found.removed.count) == (40, 40, 0)
    again = versions.make("again", [(n, str(n % 2), f"q{n // 2}", None) for n in range(40, 80)], parent="one")
    assert again.digest == second.digest


def test_a_known_patient_stays_on_his_side(versions: Versions) -> None:
    versions.make("one", OLD)
    sides = {row.patient: row.split for row in versions.rows("one")}
    versions.make("two", [(100 + n, "0", f"p{n}", None) for n in range(20)], parent="one")
    rows = versions.rows("two")
    assert len(rows) == 60
    assert {row.patient: row.split for row in rows} == sides


def test_a_patient_cannot_be_given_another_side_unless_that_is_wanted(versions: Versions) -> None:
    rows = [
        (number, str(number % 2), f"p{number // 2}", ("train", "val", "test")[number // 2 % 3]) for number in range(40)
    ]
    versions.make("one", rows)
    moved: list[Row] = [(100, "0", "p0", "test")]
    with pytest.raises(DataError, match="1 patients have images in more than one split"):
        versions.make("two", moved, parent="one")
    found = versions.make("three", moved, parent="one", allow_shared_patients=True)
    assert found.across_splits == {"patients": 1, "files": 0}


def test_bytes_that_are_there_are_relabelled_and_not_counted_twice(versions: Versions) -> None:
    versions.make("one", OLD)
    found = versions.make("two", [(0, "1", "p0", None), (1, "1", "p0", None)], parent="one")
    assert found.images == 40
    told = changes(versions.rows("two"), versions.rows("one"))
    assert (told.unchanged, told.relabelled.count, told.moved.count, told.added.count) == (39, 1, 0, 0)


def test_an_extended_version_is_the_one_that_would_be_made_of_all_at_once(versions: Versions) -> None:
    given: list[Row] = [(n, str(n // 6 % 3), f"p{n // 2}", ("train", "val", "test")[n // 2 % 3]) for n in range(60)]
    versions.make("one", [row for row in given if row[1] != "2"][:30])
    extended = versions.make("two", [row for row in given if row[1] == "2"], parent="one")
    kept = [row for row in given if row[1] != "2"][:30] + [row for row in given if row[1] == "2"]
    whole = versions.make("all", kept)
    assert (extended.classes, extended.class_counts) == (["0", "1", "2"], whole.class_counts)
    assert extended.digest == whole.digest
    assert versions.shelves["two"].images(extended) == versions.shelves["all"].images(whole)


def test_labels_of_several_columns_are_told_by_name(versions: Versions, png: Png, tmp_path: Path) -> None:
    shelves: dict[str, Shelf] = {}

    def make(name: str, columns: list[str], numbers: range, parent: Parent | None) -> IngestResult:
        folder = tmp_path / name
        folder.mkdir()
        with (folder / "labels.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["file", *columns])
            for number in numbers:
                (folder / f"{number}.png").write_bytes(png(number))
                values = {"a": number % 2, "b": number // 2 % 2, "c": ""}
                table.writerow([f"{number}.png", *(values[column] for column in columns)])
        spec = DatasetSpec.model_validate(
            {"name": "d", "kind": "csv", "location": "file:///x", "task": "multilabel", "columns": {"label": columns}}
        ).resolved()
        shelves[name] = Shelf()
        return ingest(spec, source=folder, keep=shelves[name], parent=parent)

    first = make("one", ["a", "b"], range(40), None)
    parent = parent_of(shelves["one"], first)
    assert make("two", ["b", "a"], range(40, 60), parent).classes == ["a", "b"]
    labels = {row.file: row.labels for row in read_manifest([shelves["two"].kept["manifest.csv"]])}
    assert labels["41.png"] == {"a": "1", "b": "0"}
    with pytest.raises(DataError, match=r"expected the labels \['a', 'b'\] of the version that is extended"):
        make("three", ["a", "c"], range(60, 70), parent)


def test_what_does_not_fit_the_parent_is_told(versions: Versions) -> None:
    versions.make("one", OLD)
    with pytest.raises(DataError, match="names its patients, what is new does not"):
        versions.make("two", [(50, "0", None, None)], parent="one")
    with pytest.raises(DataError, match="is multiclass, not ordinal"):
        versions.make("three", [(50, "0", "x", None)], parent="one", task="ordinal")
    versions.make("bare", [(number, label, None, None) for number, label, _, _ in OLD])
    with pytest.raises(DataError, match="what is new names patients"):
        versions.make("four", [(50, "0", "x", None)], parent="bare")


class Arrays:
    """Versions of one array each: the images are their numbers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shelves: dict[str, Shelf] = {}
        self.found: dict[str, IngestResult] = {}

    def make(
        self,
        name: str,
        numbers: dict[str, list[int]],
        labels: Callable[[list[int]], list[Any]] = lambda numbers: [number % 2 for number in numbers],
        *,
        side: int = 8,
        parent: str | None = None,
        **fields: Any,
    ) -> IngestResult:
        held: dict[str, Any] = {}
        for split, drawn in numbers.items():
            held[f"{split}_images"] = np.stack([np.full((side, side, 3), number, np.uint8) for number in drawn])
            held[f"{split}_labels"] = np.array(labels(drawn))
        source = self.folder / f"{name}.npz"
        np.savez(source, **held)
        spec = {"name": "d", "kind": "npz", "location": "file:///x", **fields}
        shelf = self.shelves[name] = Shelf()
        self.found[name] = ingest(
            DatasetSpec.model_validate(spec).resolved(),
            source=source,
            keep=shelf,
            parent=parent_of(self.shelves[parent], self.found[parent]) if parent else None,
        )
        return self.found[name]

    def rows(self, name: str) -> dict[int, tuple[str, str, Any]]:
        """Name, split and label of each image."""
        shelf, rows = self.shelves[name], self.shelves[name].annotations(self.found[name])
        numbers = [int(np.asarray(image).flat[0]) for image in shelf.images(self.found[name])]
        told = zip(rows.names, rows.split.tolist(), rows.labels.tolist(), strict=True)
        return {
            number: (name, SPLITS[split], label) for number, (name, split, label) in zip(numbers, told, strict=True)
        }


FIRST = {"train": [0, 1, 2, 3], "val": [4, 5], "test": [6, 7]}


def test_arrays_are_extended_by_arrays(tmp_path: Path) -> None:
    arrays = Arrays(tmp_path)
    arrays.make("one", FIRST)
    found = arrays.make("two", {"train": [3, 20, 21], "test": [22]}, lambda drawn: [2] * len(drawn), parent="one")
    rows = arrays.rows("two")
    assert (found.images, found.classes, found.splits) == (11, ["0", "1", "2"], {"train": 6, "val": 2, "test": 3})
    assert {number: row for number, row in rows.items() if number < 8 and number != 3} == {
        number: row for number, row in arrays.rows("one").items() if number != 3
    }, "what was there stays as it was"
    assert rows[3] == ("train/8", "train", 2), "the very same pixels stand in the place of the old ones"
    assert [rows[number] for number in (20, 21, 22)] == [
        ("train/9", "train", 2),
        ("train/10", "train", 2),
        ("test/11", "test", 2),
    ]
    assert len({row.file for row in read_manifest([arrays.shelves["two"].kept["manifest.csv"]])}) == 11
    third = arrays.make("three", {"train": [30, 31]}, parent="two")
    assert third.images == 13


def test_arrays_with_several_labels_are_extended_too(tmp_path: Path) -> None:
    def several(drawn: list[int]) -> list[list[int]]:
        return [[number % 2, number // 2 % 2] for number in drawn]

    arrays = Arrays(tmp_path)
    splits = {"train": [0, 1, 2, 3], "val": [4, 5, 6, 7], "test": [8, 9, 10, 11]}
    arrays.make("one", splits, several, task="multilabel")
    arrays.make("two", {"train": [21, 22]}, several, task="multilabel", parent="one")
    rows = arrays.rows("two")
    assert (rows[1][2], rows[21][2], rows[22][2]) == ([1, 0], [1, 0], [0, 1])


def test_arrays_that_do_not_fit_the_parent_are_told(tmp_path: Path) -> None:
    arrays = Arrays(tmp_path)
    arrays.make("one", FIRST)
    with pytest.raises(
        DataError, match="expected images of 8 x 8 x 3, as in the version that is extended, got 9 x 9 x 3"
    ):
        arrays.make("two", {"train": [20, 21]}, side=9, parent="one")
    with pytest.raises(DataError, match="is multiclass, not ordinal"):
        arrays.make("three", {"train": [20, 21]}, parent="one", task="ordinal")
