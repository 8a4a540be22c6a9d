"""Tables of a dataset: CSV files beside its images, read whole, and what their rows come to."""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import Listing, Sample, class_order
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import FileFault, Task

MAX_GRADE = 99
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Row:
    """A row understood, its label still in words."""

    sample: Sample
    words: str


class RowFault(ValueError):
    """Why a row cannot be used."""


@dataclass(frozen=True)
class TableRow:
    """A row of a table, not yet looked at."""

    number: int
    """From 1, without the header; rows that are left out count."""
    fields: dict[str, str]
    """By the names of columns."""
    whole: bool
    """Whether it has a field for each column that has a name, and none beyond the header."""


class CsvTable:
    """A table whose header was read. Columns without a name and rows without a word are left out: programs for
    spreadsheets write them where cells were once touched.
    """

    def __init__(self, text: str, path: str, spelt: Callable[[str], str]) -> None:
        self._path, self._reader = path, csv.reader(io.StringIO(text, newline=""), strict=True)
        try:
            self._header = [spelt(name) if name.strip() else "" for name in next(self._reader, [])]
        except csv.Error as error:
            raise DataError(f"{path}: its header is broken: {error}") from error
        self.columns = [name for name in self._header if name]
        if len(set(self.columns)) < len(self.columns):
            raise DataError(f"{path}: two columns have the same name: {self.columns}")

    def rows(self) -> list[TableRow]:
        """All of its rows. Raises DataError."""
        named = max((at for at, name in enumerate(self._header, start=1) if name), default=0)
        rows: list[TableRow] = []
        try:
            for number, cells in enumerate(self._reader, start=1):
                if number > MAX_ROWS:
                    raise DataError(f"{self._path}: has more than {MAX_ROWS} rows")
                if any(cell.strip() for cell in cells):
                    fields = {name: cell for name, cell in zip(self._header, cells, strict=False) if name}
                    rows.append(TableRow(number, fields, named <= len(cells) <= len(self._header)))
        except csv.Error as error:
            raise DataError(f"{self._path}: line {self._reader.line_num} is broken: {error}") from error
        return rows


def open_table(tree: Tree, path: str, *, spelt: Callable[[str], str] = str) -> CsvTable:
    """A table whose header was read, the names of its columns as `spelt` makes them. Raises DataError."""
    try:
        text = tree.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error
    return CsvTable(text, path, spelt)


def check_whole(row: TableRow) -> None:
    """Raise RowFault unless the row has as many fields as the header."""
    if not row.whole:
        raise RowFault("the row has more or fewer fields than the header")


def grade_of(word: str) -> int:
    """A grade. Raises RowFault."""
    if not (word.isascii() and word.isdecimal() and int(word) <= MAX_GRADE):
        raise RowFault(f"the grade is {word!r}: expected a whole number from 0 to {MAX_GRADE}")
    return int(word)


def coded(
    rows: list[Row], labels: Sequence[str], task: Task, faults: list[FileFault], *, classes: Sequence[str] | None = None
) -> Listing:
    """The listing of rows, class names coded in their order: that of `classes`, which has all of them, where it is
    given, else sorted. Grades are all from 0 to the highest.
    """
    samples = [row.sample for row in rows]
    if task == "multilabel":
        return Listing(samples, list(labels), faults)
    if task == "ordinal":
        highest = max((int(row.words) for row in rows), default=-1)
        return Listing(samples, [str(grade) for grade in range(highest + 1)], faults)
    names = list(classes) if classes else class_order(row.words for row in rows)
    index = {name: number for number, name in enumerate(names)}
    return Listing([replace(row.sample, label=index[row.words]) for row in rows], names, faults)
