"""Manifests: which columns and words are understood, and what is said of the others, row by row."""

import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from transfusion_core.errors import DataError
from transfusion_core.science.data.readers import tables
from transfusion_core.science.data.readers.csv_manifest import list_manifest
from transfusion_core.science.data.samples import Listing
from transfusion_core.science.data.tree import open_tree
from transfusion_core.specs.dataset import ColumnsSpec, DatasetSpec, Task


def _list(
    folder: Path, text: str | bytes, *, task: Task = "multiclass", manifest: str | None = None, **columns: Any
) -> Listing:
    data = text.encode() if isinstance(text, str) else text
    (folder / "labels.csv").write_bytes(data)
    for name in ("a.png", "b.png", "ü/c d.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    with open_tree(folder) as tree:
        return list_manifest(tree, manifest=manifest, columns=ColumnsSpec(**columns), task=task)


def _messages(listing: Listing) -> list[tuple[str, int | None, str]]:
    return [(fault.file, fault.row, fault.message) for fault in listing.faults]


def test_class_names_are_sorted_and_unicode_is_welcome(tmp_path: Path) -> None:
    listing = _list(tmp_path, "\ufefffile,label\na.png,zebra\nü/c d.png,äffchen\nb.png,ape\n")
    assert listing.classes == ["ape", "zebra", "äffchen"]
    assert [(sample.file, sample.label, sample.row) for sample in listing.samples] == [
        ("a.png", 1, 1),
        ("ü/c d.png", 2, 2),
        ("b.png", 0, 3),
    ]


def test_classes_that_the_spec_lists_are_these_in_this_order_and_others_are_faults(tmp_path: Path) -> None:
    text = "file,label\na.png,mel\nb.png, nv\nü/c d.png,tumour\n"
    listing = _list(tmp_path, text, classes=["nv", "mel", "bcc"])
    assert listing.classes == ["nv", "mel", "bcc"]
    assert [(sample.file, sample.label) for sample in listing.samples] == [("a.png", 1), ("b.png", 0)]
    assert _messages(listing) == [("ü/c d.png", 3, "the label is 'tumour': expected one of 'nv', 'mel', 'bcc'")]
    many = [f"melanoma {number}" for number in range(12)]
    ((*_, message),) = _messages(_list(tmp_path, "file,label\na.png,melanoma1\n", classes=many))
    assert message.startswith("the label is 'melanoma1' (did you mean 'melanoma 1'?): expected one of 'melanoma 0', ")
    assert message.endswith("'melanoma 9', ...")


@pytest.mark.parametrize("classes", [[], [""], ["a", "a"], [" a"], ["a\n"], ["a" * 201], ["\u202ea"], [1]])
def test_classes_are_plain_words_each_once(classes: list[Any]) -> None:
    with pytest.raises(ValidationError, match="classes"):
        ColumnsSpec(classes=classes)


@pytest.mark.parametrize("task", ["ordinal", "multilabel"])
def test_classes_are_for_a_multiclass_task(task: Task) -> None:
    words = {"name": "d", "kind": "csv", "location": "upload:x", "columns": {"classes": ["a", "b"]}}
    with pytest.raises(ValidationError, match=f"'classes' is for a multiclass task, not {task}"):
        DatasetSpec.model_validate({**words, "task": task})
    assert DatasetSpec.model_validate(words).resolved().model_dump()["columns"]["classes"] == ["a", "b"]


def test_a_spec_without_classes_is_written_as_it_was() -> None:
    """Keys of jobs are made of what is written."""
    assert ColumnsSpec().model_dump(mode="json") == {"file": "file", "label": "label", "split": None, "patient": None}


def test_grades_are_numbers_and_the_highest_says_how_many(tmp_path: Path) -> None:
    listing = _list(tmp_path, "file,label\na.png,0\nb.png, 3\n", task="ordinal")
    assert listing.classes == ["0", "1", "2", "3"]
    assert [sample.label for sample in listing.samples] == [0, 3]


def test_multilabel_columns_may_be_missing_in_a_row(tmp_path: Path) -> None:
    listing = _list(tmp_path, "file,x,y\na.png,1,\nb.png,0.0,1.0\n", task="multilabel", label=["x", "y"])
    (first, second) = (sample.label for sample in listing.samples)
    assert isinstance(first, tuple)
    assert first[0] == 1
    assert math.isnan(first[1])
    assert second == (0, 1)
    assert listing.classes == ["x", "y"]
    assert _list(tmp_path, "file,x\na.png,1\n", task="multilabel", label="x").classes == ["x"]


def test_splits_and_patients_are_read(tmp_path: Path) -> None:
    listing = _list(tmp_path, "file,label,s,p\na.png,0,train,p1\nb.png,1,Valid,p2\n", split="s", patient="p")
    assert [(sample.split, sample.patient) for sample in listing.samples] == [("train", "p1"), ("val", "p2")]


@pytest.mark.parametrize(
    ("row", "task", "message"),
    [
        ("missing.png,0,train,p", "multiclass", "there is no such file"),
        ("../a.png,0,train,p", "multiclass", "leads out of"),
        ("/a.png,0,train,p", "multiclass", "leads out of"),
        (",0,train,p", "multiclass", "names no file"),
        ("a.png,,train,p", "multiclass", "label is empty"),
        ("a.png,high,train,p", "ordinal", "the grade is 'high'"),
        ("a.png,-1,train,p", "ordinal", "the grade is '-1'"),
        ("a.png,100,train,p", "ordinal", "from 0 to 99"),
        ("a.png,2,train,p", "multilabel", "a label is '2'"),
        ("a.png,0,tarin,p", "multiclass", "the split is 'tarin'"),
        ("a.png,0,train,", "multiclass", "the patient is empty"),
        ("a.png,0,train", "multiclass", "more or fewer fields"),
        ("a.png,0,train,p,more", "multiclass", "more or fewer fields"),
    ],
)
def test_a_bad_row_is_a_fault_with_its_number(tmp_path: Path, row: str, task: Task, message: str) -> None:
    text = f"file,label,split,patient\nb.png,0,train,q\n{row}\n"
    listing = _list(tmp_path, text, task=task, split="split", patient="patient")
    assert len(listing.samples) == 1
    ((file, number, found),) = _messages(listing)
    assert (file, number) == (row.partition(",")[0], 2)
    assert message in found


def test_columns_without_a_name_and_rows_without_a_word_are_left_out_but_counted(tmp_path: Path) -> None:
    listing = _list(
        tmp_path, ",file,label,,\n0,a.png,x,,note\n,,,,\n\n , ,\n1,b.png,,,\n2,ü/c d.png,y\n3,b.png\n,,,,\n"
    )
    assert [(sample.file, sample.row) for sample in listing.samples] == [("a.png", 1), ("ü/c d.png", 6)]
    assert _messages(listing) == [
        ("b.png", 5, "the label is empty"),
        ("b.png", 7, "the row has more or fewer fields than the header"),
    ]


def test_a_file_named_twice_is_a_fault_of_the_later_row(tmp_path: Path) -> None:
    listing = _list(tmp_path, "file,label\na.png,0\nb.png,1\n./a.png,1\n")
    assert _messages(listing) == [("./a.png", 3, "the file is named by row 1 already")]


def test_missing_columns_are_said_at_once_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has the columns \['file', 'grade', 'patient_id'\]") as caught:
        _list(tmp_path, "file,grade,patient_id\n", label="grades", patient="patient", split="zzz")
    assert [(fault.pointer, fault.nearest) for fault in caught.value.faults] == [
        ("/columns/label", "grade"),
        ("/columns/split", None),
        ("/columns/patient", "patient_id"),
    ]


def test_several_label_columns_are_for_multilabel(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="several label columns"):
        _list(tmp_path, "file,x,y\n", label=["x", "y"])


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (b"file,label\n\xff\xfe,0\n", "not UTF-8"),
        (b"file,file\n", "same name"),
        (b'"file,label\na.png,0\n', "header is broken"),
        (b'file,label\n"a.png"x,0\n', "is broken: ','"),
        (b"", r"has the columns \[\]"),
    ],
)
def test_a_manifest_that_is_no_table_is_refused(tmp_path: Path, text: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        _list(tmp_path, text)


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_ROWS", 1)
    with pytest.raises(DataError, match="more than 1 rows"):
        _list(tmp_path, "file,label\na.png,0\nb.png,1\n")


def test_one_manifest_is_found_and_of_two_one_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("file,label\na.png,0\n")
    with pytest.raises(DataError, match="expected one CSV file, found 2"):
        _list(tmp_path, "file,label\n")
    assert len(_list(tmp_path, "file,label\n", manifest="other.csv").samples) == 1
    with pytest.raises(DataError, match=r"did you mean 'other\.csv'"):
        _list(tmp_path, "file,label\n", manifest="others.csv")
    with pytest.raises(DataError, match=r"found \['labels"):
        _list(tmp_path, "file,label\n", manifest="zzz")


def test_files_are_relative_to_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "x.png").write_bytes(b"")
    (tmp_path / "sub" / "m.csv").write_text("file,label\nx.png,0\n")
    assert _list(tmp_path, "file,label\n", manifest="sub/m.csv").samples[0].file == "sub/x.png"


def test_a_row_that_names_a_link_or_leads_through_one_says_so(tmp_path: Path) -> None:
    """Wherever it leads: inside of the folder too."""
    (tmp_path / "away.png").write_bytes(b"secret")
    root = tmp_path / "set"
    (root / "real").mkdir(parents=True)
    (root / "real" / "1.png").write_bytes(b"")
    (root / "out.png").symlink_to(tmp_path / "away.png")
    (root / "in.png").symlink_to(root / "real" / "1.png")
    (root / "folder").symlink_to(root / "real")
    (root / "circle.png").symlink_to(root / "circle.png")
    names = ["out.png", "in.png", "folder/1.png", "./folder//1.png", "circle.png", "nothing/1.png", "real/1.png"]
    listing = _list(root, "file,label\n" + "".join(f"{name},x\n" for name in names))
    link, nothing = "the file is a link, and links are not followed", "there is no such file"
    assert [message for *_, message in _messages(listing)] == [link] * 5 + [nothing]
    assert [sample.file for sample in listing.samples] == ["real/1.png"]


def test_a_manifest_that_is_a_link_is_told(tmp_path: Path) -> None:
    (tmp_path / "linked.csv").symlink_to(tmp_path / "labels.csv")
    assert len(_list(tmp_path, "file,label\na.png,0\n").samples) == 1
    with pytest.raises(DataError, match=r"the manifest 'linked\.csv' is a link, and links are not followed"):
        _list(tmp_path, "file,label\n", manifest="linked.csv")


def test_one_bad_row_of_a_hundred_thousand_is_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for number in range(100_000):
            archive.writestr(f"{number}.png", b"")
    rows = [f"{number}.png,{number % 2}" for number in range(100_000)]
    rows[77_776] = "77776.png,"
    listing = _list(tmp_path, "file,label\n" + "\n".join(rows))
    assert _messages(listing) == [("77776.png", 77_777, "the label is empty")]
    assert len(listing.samples) == 99_999
