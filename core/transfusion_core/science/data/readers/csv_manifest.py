"""Reads a CSV manifest beside its images: one row per image, columns named by the spec.

Files are relative to the manifest's folder, and are looked for in zip archives directly in the location too. Labels:
class names (multiclass), whole numbers from 0 (ordinal), or a column each of 1, 0 and empty for missing (multilabel).
"""

import csv
import io
import math
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from transfusion_core.errors import DataError
from transfusion_core.science.data.paths import is_inside, is_plain
from transfusion_core.science.data.samples import SPLIT_NAMES, Label, Listing, Sample, class_order
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import ColumnsSpec, FileFault, Split, Task
from transfusion_core.specs.fault import Fault, nearest

MAX_GRADE = 99
MAX_LABEL = 200
MAX_ROWS = 1_000_000
_BINARY = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": math.nan}


@dataclass(frozen=True)
class _Manifest:
    """What every row is read by."""

    tree: Tree
    path: str
    columns: ColumnsSpec
    labels: list[str]
    task: Task


@dataclass(frozen=True)
class _Row:
    """A row read, its label still in words."""

    sample: Sample
    words: str


class _RowFault(ValueError):
    """Why a row cannot be used."""


def list_manifest(tree: Tree, *, manifest: str | None, columns: ColumnsSpec, task: Task) -> Listing:
    """The files that a manifest names.

    DataError for a manifest that cannot be read at all, faults for single rows.
    """
    path = _manifest(tree, manifest)
    table = _table(tree, path)
    labels = _label_columns(columns, task)
    _check_columns(list(table.fieldnames or []), columns, labels, path)
    rows: list[_Row] = []
    faults: list[FileFault] = []
    seen: dict[str, int] = {}
    context = _Manifest(tree, path, columns, labels, task)
    for number, fields in enumerate(_counted(table, path), start=1):
        named = fields.get(columns.file) or ""
        try:
            rows.append(_row(fields, number, context=context, seen=seen))
        except _RowFault as fault:
            faults.append(FileFault(file=named, row=number, message=str(fault)))
    return _coded(rows, labels, task, faults)


def _manifest(tree: Tree, named: str | None) -> str:
    found = [file for file in tree.files() if file.lower().endswith(".csv")]
    if named is not None:
        if not tree.holds(named):
            close = nearest(named, found)
            raise DataError(
                f"there is no manifest {named!r}"
                + (f" (did you mean {close!r}?)" if close else f": found {found[:10]}")
            )
        return named
    if len(found) != 1:
        raise DataError(f"expected one CSV file, found {len(found)}: {found[:10]}; name it by 'manifest'")
    return found[0]


def _table(tree: Tree, path: str) -> "csv.DictReader[str]":
    try:
        text = tree.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        header = table.fieldnames or []
    except csv.Error as error:
        raise DataError(f"{path}: its header is broken: {error}") from error
    if len(set(header)) < len(header):
        raise DataError(f"{path}: two columns have the same name: {list(header)}")
    return table


def _counted(table: "csv.DictReader[str]", path: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    try:
        for row in table:
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise DataError(f"{path}: has more than {MAX_ROWS} rows")
    except csv.Error as error:
        raise DataError(f"{path}: line {table.line_num} is broken: {error}") from error
    return rows


def _label_columns(columns: ColumnsSpec, task: Task) -> list[str]:
    if isinstance(columns.label, str):
        return [columns.label]
    if task != "multilabel":
        raise DataError(f"several label columns are for task 'multilabel', not {task!r}")
    return columns.label


def _check_columns(there: list[str], columns: ColumnsSpec, labels: list[str], path: str) -> None:
    wanted: dict[str, list[str | None]] = {
        "file": [columns.file],
        "label": [*labels],
        "split": [columns.split],
        "patient": [columns.patient],
    }
    faults = [
        Fault(
            pointer=f"/columns/{role}",
            message="no such column",
            value=name,
            allowed=there,
            nearest=nearest(name, there),
        )
        for role, names in wanted.items()
        for name in names
        if name is not None and name not in there
    ]
    if faults:
        raise DataError(f"{path}: has the columns {there}, not all that the spec names", faults=faults)


def _row(fields: dict[str, str], number: int, *, context: _Manifest, seen: dict[str, int]) -> _Row:
    columns = context.columns
    if None in fields or None in fields.values():
        raise _RowFault("the row has more or fewer fields than the header")
    file = _file(fields[columns.file].strip(), context.tree, context.path)
    if seen.setdefault(file, number) != number:
        raise _RowFault(f"the file is named by row {seen[file]} already")
    words = fields[context.labels[0]].strip()
    sample = Sample(
        file=file,
        label=_label([fields[name].strip() for name in context.labels], context.task),
        split=_split(fields[columns.split]) if columns.split else None,
        patient=_patient(fields[columns.patient]) if columns.patient else None,
        row=number,
    )
    return _Row(sample, words)


def _file(named: str, tree: Tree, manifest: str) -> str:
    if not named:
        raise _RowFault("the row names no file")
    if not is_plain(named):
        raise _RowFault("the file's name is too long or no plain text")
    if not is_inside(named):
        raise _RowFault("the path leads out of the dataset's folder")
    file = (PurePosixPath(manifest).parent / named).as_posix()
    if not tree.holds(file):
        raise _RowFault("there is no such file")
    return file


def _label(words: list[str], task: Task) -> Label:
    if task == "multilabel":
        unknown = [word for word in words if word not in _BINARY]
        if unknown:
            raise _RowFault(f"a label is {unknown[0]!r}: expected 1, 0 or nothing")
        return tuple(_BINARY[word] for word in words)
    if not words[0]:
        raise _RowFault("the label is empty")
    if not is_plain(words[0]) or len(words[0]) > MAX_LABEL:
        raise _RowFault(f"the label is no plain text of {MAX_LABEL} characters at most")
    if task == "multiclass":
        return 0  # coded when all class names are known
    if not (words[0].isascii() and words[0].isdecimal() and int(words[0]) <= MAX_GRADE):
        raise _RowFault(f"the grade is {words[0]!r}: expected a whole number from 0 to {MAX_GRADE}")
    return int(words[0])


def _split(word: str) -> Split:
    split = SPLIT_NAMES.get(word.strip().lower())
    if split is None:
        raise _RowFault(f"the split is {word!r}: expected one of {sorted(SPLIT_NAMES)}")
    return split


def _patient(word: str) -> str:
    if not word.strip():
        raise _RowFault("the patient is empty")
    return word.strip()


def _coded(rows: list[_Row], labels: list[str], task: Task, faults: list[FileFault]) -> Listing:
    samples = [row.sample for row in rows]
    if task == "multilabel":
        return Listing(samples, list(labels), faults)
    if task == "ordinal":
        highest = max((int(row.words) for row in rows), default=-1)
        return Listing(samples, [str(grade) for grade in range(highest + 1)], faults)
    classes = class_order(row.words for row in rows)
    index = {name: number for number, name in enumerate(classes)}
    return Listing([replace(row.sample, label=index[row.words]) for row in rows], classes, faults)
