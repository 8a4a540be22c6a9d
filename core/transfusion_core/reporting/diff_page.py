"""What two reports say differently as a page that a person reads: no scripts, and nothing from elsewhere."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from transfusion_core.reporting.diff import OF_WHAT
from transfusion_core.reporting.html import ROWS_SHOWN, cell, template, template_text
from transfusion_core.specs.report import ChangedRow, ReportDiff, Row, SectionDiff

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
UNSHOWN = {"picture", *OF_WHAT}
"""What says of what a row is stands before what it says; pictures are left to the reports."""


def render_diff(diff: ReportDiff) -> str:
    """The page. All that users named is escaped."""
    style = Markup(template_text("report.css"))
    return template("diff.html").render(diff=diff, style=style, lists=_lists, rows_shown=ROWS_SHOWN)


def _lists(found: SectionDiff) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """What changed, what is new and what is gone: each with its rows as words by column."""
    for title, table in (
        ("rows say something else", [*map(_changed, found.changed)]),
        ("rows are new", [_said(row) for row in found.added]),
        ("rows are gone", [_said(row) for row in found.removed]),
    ):
        if table:
            yield title, _aligned(table)


def _changed(pair: ChangedRow) -> dict[str, str]:
    """What the row is of, and each thing that it says otherwise: before, then after."""
    said = {
        name: f"{_shown(pair.before, name)} → {_shown(pair.after, name)}"
        for name in Row.model_fields
        if name not in UNSHOWN and getattr(pair.before, name) != getattr(pair.after, name)
    }
    return _of_what(pair.after) | said


def _said(row: Row) -> dict[str, str]:
    values = {name: _shown(row, name) for name in Row.model_fields if name not in UNSHOWN}
    return _of_what(row) | values


def _of_what(row: Row) -> dict[str, str]:
    return {name: _shown(row, name) for name in OF_WHAT}


def _shown(row: Row, name: str) -> str:
    return cell(getattr(row, name), name)


def _aligned(table: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """The same columns in every row, without those that say nothing."""
    columns = [name for name in (*OF_WHAT, *Row.model_fields) if any(row.get(name) for row in table)]
    return [{name.replace("_", " "): row.get(name, "") for name in dict.fromkeys(columns)} for row in table]
