"""What all charts share: colours, sizes, small multiples, and rows as data."""

from collections.abc import Sequence
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


def data(rows: Sequence[Row], *, arms_apart: bool = False) -> alt.InlineData:
    """The rows that have a value, as a chart's data. `arms_apart`: small multiples are of arms, not of models."""
    values = [drawn(row) for row in rows if row.value is not None]
    return alt.InlineData(values=[{**value, "facet": value["place"]} if arms_apart else value for value in values])


def drawn(row: Row) -> dict[str, Any]:
    """A row with the words that the legend shows and the ends of its spread."""
    spread, value = row.sd or 0.0, row.value or 0.0
    size = "" if row.train_size in (None, "all") else f", {row.train_size} images"
    arm = f"{row.init} ({row.source})" if row.source else str(row.init)
    facet = f"{row.model}{size}"
    words = {"facet": facet, "arm": arm, "place": f"{facet}, {arm}", "low": value - spread, "high": value + spread}
    return {**row.model_dump(mode="json", exclude_none=True), **words}


def facets(chart: Any, title: str, order: Sequence[str] = (), *, independent: bool = False) -> dict[str, Any]:
    """Small multiples, one per model and train size; by name unless an order is given.

    `independent`: each has axes of its own.
    """
    chart = chart.properties(width=WIDTH, height=HEIGHT)
    faceted = chart.facet(
        facet=alt.Facet("facet:N", title=None, sort=list(order) or alt.Undefined), columns=3, title=title
    )
    if independent:
        faceted = faceted.resolve_scale(x="independent", y="independent")
    drawn: dict[str, Any] = faceted.configure_axis(labelLimit=160).to_dict()
    return drawn
