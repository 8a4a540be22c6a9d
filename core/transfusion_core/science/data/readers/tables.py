"""Tables of a dataset: CSV files beside its images, read whole, and what their rows come to."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import Listing, Sample, class_order
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import FileFault, Task

MAX_GRADE = 99
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Row:
    """A row read, its label still in words."""

    sample: Sample
    words: str


class RowFault(ValueError):
    """Why a row cannot be used."""


def open_table(tree: Tree, path: str) -> "csv.DictReader[str]":
    """A table whose header was read. Raises DataError."""
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


def rows_of(table: "csv.DictReader[str]", path: str) -> list[dict[str, str]]:
    """All of its rows. Raises DataError."""
    rows: list[dict[str, str]] = []
    try:
        for row in table:
            rows.append(row)
            if len(rows) > MAX_ROWS:
                raise DataError(f"{path}: has more than {MAX_ROWS} rows")
    except csv.Error as error:
        raise DataError(f"{path}: line {table.line_num} is broken: {error}") from error
    return rows


def check_whole(fields: dict[str, str]) -> None:
    """Raise RowFault unless the row has as many fields as the header."""
    if None in fields or None in fields.values():
        raise RowFault("the row has more or fewer fields than the header")


def grade_of(word: str) -> int:
    """A grade. Raises RowFault."""
    if not (word.isascii() and word.isdecimal() and int(word) <= MAX_GRADE):
        raise RowFault(f"the grade is {word!r}: expected a whole number from 0 to {MAX_GRADE}")
    return int(word)


def coded(rows: list[Row], labels: Sequence[str], task: Task, faults: list[FileFault]) -> Listing:
    """The listing of rows, class names coded in their order; grades are all from 0 to the highest."""
    samples = [row.sample for row in rows]
    if task == "multilabel":
        return Listing(samples, list(labels), faults)
    if task == "ordinal":
        highest = max((int(row.words) for row in rows), default=-1)
        return Listing(samples, [str(grade) for grade in range(highest + 1)], faults)
    classes = class_order(row.words for row in rows)
    index = {name: number for number, name in enumerate(classes)}
    return Listing([replace(row.sample, label=index[row.words]) for row in rows], classes, faults)
