"""A report's numbers as one long table, as CSV and as Parquet: a row per number, the section in front."""

import csv
import io
from collections import defaultdict
from typing import Any, get_args

from transfusion_core.reporting import parquet
from transfusion_core.specs.cells import as_it_was, inert
from transfusion_core.specs.report import Report, Row

BOUNDS = ("interval_low", "interval_high")
_WORDS = [BOUNDS if name == "interval" else (name,) for name in Row.model_fields]
COLUMNS = ["section", *(name for names in _WORDS for name in names)]


def flat(report: Report) -> list[dict[str, Any]]:
    """Every row of every section, without the keys that do not apply."""
    return [_flat(name, row) for name, section in report.sections.items() for row in section.table]


def _flat(section: str, row: Row) -> dict[str, Any]:
    words = row.model_dump(mode="json", exclude_none=True, exclude={"interval"})
    bounds = {} if row.interval is None else dict(zip(BOUNDS, row.interval, strict=True))
    return {"section": section, **words, **bounds}


def to_csv(report: Report) -> str:
    """The long table as CSV; empty where a key does not apply."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: inert(word) if isinstance(word, str) else word for name, word in line.items()} for line in flat(report)
    )
    return text.getvalue()


def from_csv(text: str) -> dict[str, list[Row]]:
    """The rows of each section: what `to_csv` wrote, read back."""
    tables: dict[str, list[Row]] = defaultdict(list)
    for line in csv.DictReader(io.StringIO(text, newline="")):
        words: dict[str, Any] = {name: as_it_was(word) for name, word in line.items() if word != ""}
        if words.get("train_size", "all") != "all":
            words["train_size"] = int(words["train_size"])
        bounds = [float(words.pop(name)) for name in BOUNDS if name in words]
        tables[words.pop("section")].append(Row(**words, interval=bounds or None))
    return dict(tables)


def to_parquet(report: Report) -> bytes:
    """The long table as Parquet; null where a key does not apply."""
    rows = flat(report)
    return parquet.write(
        {
            name: (kind, [None if row.get(name) is None else kind(row[name]) for row in rows])
            for name, kind in _kinds().items()
        }
    )


def _kinds() -> dict[str, type]:
    """The type of each column: text where a key may be of several."""
    fields = {name: _kind(field.annotation) for name, field in Row.model_fields.items() if name != "interval"}
    return {name: fields.get(name, float if name in BOUNDS else str) for name in COLUMNS}


def _kind(annotation: Any) -> type:
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else str
