"""What all charts share: colours, sizes, small multiples, and rows as data."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from transfusion_core.specs.report import Row

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Okabe and Ito's palette: told apart by colour-blind readers."""
WIDTH, HEIGHT = 220, 180


def first_measure(table: Sequence[Row]) -> str:
    """The measure drawn: the first one of the spec that has a value, as the table is in the spec's order."""
    measures = [row.measure for row in table if row.measure and row.value is not None]
    return measures[0] if measures else "similarity"


ROWS = alt.NamedData(name="rows")
"""A chart's data while it is put together; `facets` fills in the values, which Altair would take minutes to check."""


def data(rows: Sequence[Row], *, arms_apart: bool = False) -> list[dict[str, Any]]:
    """The rows that have a value, as a chart's data. `arms_apart`: small multiples are of arms, not of models."""
    values = [drawn(row) for row in rows if row.value is not None]
    return [{**value, "facet": value["place"]} if arms_apart else value for value in values]


def drawn(row: Row) -> dict[str, Any]:
    """A row with the words that the legend shows and the ends of its spread."""
    spread, value = row.sd or 0.0, row.value or 0.0
    size = "" if row.train_size in (None, "all") else f", {row.train_size} images"
    arm = f"{row.init} ({row.source})" if row.source else str(row.init)
    facet = f"{row.model}{size}"
    words = {"facet": facet, "arm": arm, "place": f"{facet}, {arm}", "low": value - spread, "high": value + spread}
    return {**row.model_dump(mode="json", exclude_none=True), **words}


def facets(
    chart: Any, title: str, rows: Sequence[dict[str, Any]], order: Sequence[str] = (), *, independent: bool = False
) -> dict[str, Any]:
    """Small multiples of a chart of `ROWS`, one per model and train size; by name unless an order is given.

    `independent`: each has axes of its own.
    """
    chart = chart.properties(width=WIDTH, height=HEIGHT)
    faceted = chart.facet(
        facet=alt.Facet("facet:N", title=None, sort=list(order) or alt.Undefined), columns=3, title=title
    )
    if independent:
        faceted = faceted.resolve_scale(x="independent", y="independent")
    return filled(faceted.configure_axis(labelLimit=160), rows)


def filled(chart: Any, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The specification of a chart of `ROWS` with its data: of each row the fields that the chart looks at."""
    specification: dict[str, Any] = chart.to_dict()
    used = set(_fields(specification))
    specification["datasets"] = {ROWS.name: [{k: v for k, v in row.items() if k in used} for row in rows]}
    return specification


def _fields(specification: Any) -> Iterator[str]:
    """Every field that a specification names, in an encoding or in an expression."""
    if isinstance(specification, dict):
        if isinstance(specification.get("field"), str):
            yield specification["field"]
        for part in specification.values():
            yield from _fields(part)
    elif isinstance(specification, list):
        for part in specification:
            yield from _fields(part)
    elif isinstance(specification, str):
        yield from re.findall(r"datum\.(\w+)", specification)
