"""Reads a CSV manifest beside its images: one row per image, columns named by the spec.

Files are relative to the manifest's folder, and are looked for in zip archives directly in the location too. Labels:
class names (multiclass; those that the spec lists, or all that are there), whole numbers from 0 (ordinal), or a column
each of 1, 0 and empty for missing (multilabel).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from transfusion_core.errors import DataError
from transfusion_core.science.data.paths import is_inside, is_plain
from transfusion_core.science.data.readers.tables import (
    Row,
    RowFault,
    TableRow,
    check_whole,
    coded,
    grade_of,
    open_table,
)
from transfusion_core.science.data.samples import SPLIT_NAMES, Label, Listing, Sample
from transfusion_core.science.data.tree import LINK, Tree, is_linked
from transfusion_core.specs.dataset import ColumnsSpec, FileFault, Split, Task
from transfusion_core.specs.fault import Fault, nearest

MAX_LABEL = 200
_NAMED = 10
"""Classes that a fault names."""
_BINARY = {"1": 1.0, "1.0": 1.0, "0": 0.0, "0.0": 0.0, "": math.nan}


@dataclass(frozen=True)
class _Manifest:
    """What every row is read by."""

    tree: Tree
    path: str
    columns: ColumnsSpec
    labels: list[str]
    task: Task
    classes: frozenset[str]
    """The only ones that are taken, where there are any."""


def list_manifest(tree: Tree, *, manifest: str | None, columns: ColumnsSpec, task: Task) -> Listing:
    """The files that a manifest names.

    DataError for a manifest that cannot be read at all, faults for single rows.
    """
    path = _manifest(tree, manifest)
    table = open_table(tree, path)
    labels = _label_columns(columns, task)
    _check_columns(table.columns, columns, labels, path)
    rows: list[Row] = []
    faults: list[FileFault] = []
    seen: dict[str, int] = {}
    context = _Manifest(tree, path, columns, labels, task, frozenset(columns.classes or []))
    for row in table.rows():
        try:
            rows.append(_row(row, context=context, seen=seen))
        except RowFault as fault:
            faults.append(FileFault(file=row.fields.get(columns.file, ""), row=row.number, message=str(fault)))
    return coded(rows, labels, task, faults, classes=columns.classes)


def _manifest(tree: Tree, named: str | None) -> str:
    found = [file for file in tree.files() if file.lower().endswith(".csv")]
    if named is not None:
        if not tree.holds(named):
            if is_linked(tree, named):
                raise DataError(f"the manifest {named!r} {LINK}")
            close = nearest(named, found)
            raise DataError(
                f"there is no manifest {named!r}"
                + (f" (did you mean {close!r}?)" if close else f": found {found[:10]}")
            )
        return named
    if len(found) != 1:
        raise DataError(f"expected one CSV file, found {len(found)}: {found[:10]}; name it by 'manifest'")
    return found[0]


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


def _row(row: TableRow, *, context: _Manifest, seen: dict[str, int]) -> Row:
    columns, fields = context.columns, row.fields
    check_whole(row)
    file = _file(fields[columns.file].strip(), context.tree, context.path)
    if seen.setdefault(file, row.number) != row.number:
        raise RowFault(f"the file is named by row {seen[file]} already")
    words = fields[context.labels[0]].strip()
    label = _label([fields[name].strip() for name in context.labels], context.task)
    if context.classes and words not in context.classes:
        raise RowFault(_no_class(words, columns.classes or []))
    sample = Sample(
        file=file,
        label=label,
        split=_split(fields[columns.split]) if columns.split else None,
        patient=_patient(fields[columns.patient]) if columns.patient else None,
        row=row.number,
    )
    return Row(sample, words)


def _file(named: str, tree: Tree, manifest: str) -> str:
    if not named:
        raise RowFault("the row names no file")
    if not is_plain(named):
        raise RowFault("the file's name is too long or no plain text")
    if not is_inside(named):
        raise RowFault("the path leads out of the dataset's folder")
    file = (PurePosixPath(manifest).parent / named).as_posix()
    if not tree.holds(file):
        raise RowFault(f"the file {LINK}" if is_linked(tree, file) else "there is no such file")
    return file


def _label(words: list[str], task: Task) -> Label:
    if task == "multilabel":
        unknown = [word for word in words if word not in _BINARY]
        if unknown:
            raise RowFault(f"a label is {unknown[0]!r}: expected 1, 0 or nothing")
        return tuple(_BINARY[word] for word in words)
    if not words[0]:
        raise RowFault("the label is empty")
    if not is_plain(words[0]) or len(words[0]) > MAX_LABEL:
        raise RowFault(f"the label is no plain text of {MAX_LABEL} characters at most")
    if task == "multiclass":
        return 0  # coded when all class names are known
    return grade_of(words[0])


def _no_class(word: str, classes: Sequence[str]) -> str:
    close = nearest(word, classes)
    named = ", ".join(map(repr, classes[:_NAMED])) + (", ..." if len(classes) > _NAMED else "")
    return f"the label is {word!r}" + (f" (did you mean {close!r}?)" if close else "") + f": expected one of {named}"


def _split(word: str) -> Split:
    split = SPLIT_NAMES.get(word.strip().lower())
    if split is None:
        raise RowFault(f"the split is {word!r}: expected one of {sorted(SPLIT_NAMES)}")
    return split


def _patient(word: str) -> str:
    if not word.strip():
        raise RowFault("the patient is empty")
    return word.strip()
