"""Table 3 as curves: transfer gain against train images and against parameters."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import ROWS, arm, facets, init_colour, init_order
from transfusion_core.specs.report import Row

ASIDE = 1.05
"""Between the places of two inits on an axis of logarithms."""
_ZERO = {"condition": {"test": "datum.value === 0", "value": "black"}, "value": "#dddddd"}
"""The line of no gain is black."""


def gain_by_size(table: Sequence[Row]) -> dict[str, Any]:
    """Gain in AUROC against the number of train images, per model."""
    sizes = {row.train_size: row.value for row in table if row.metric == "train_images"}
    points = [
        {**point, "images": images, "at": images * point["aside"], "facet": row.model}
        for row, point in _gains(table)
        if row.train_size is not None and (images := sizes.get(row.train_size)) is not None
    ]
    x = alt.X("at:Q", title="train images", scale=alt.Scale(type="log", nice=False, padding=10), axis=_few_ticks())
    order = dict.fromkeys(point["facet"] for point in points)
    return facets(
        _drawn(x, table), "Transfer gain against train size: mean and 95% interval over seeds", points, [*order]
    )


def gain_by_capacity(table: Sequence[Row]) -> dict[str, Any]:
    """Gain in AUROC against the network's parameters, per train size."""
    counts = {_arm(row): row.value for row in table if row.metric == "parameters"}
    points = [
        {**point, "parameters": count, "facet": f"{row.train_size} images"}
        for row, point in _gains(table)
        if (count := counts.get(_arm(row))) is not None
    ]
    x = alt.X("parameters:O", title="parameters", axis=alt.Axis(format=".3s"))
    beside = alt.XOffset("arm:N", sort=init_order([row for row in table if row.pair]))
    order = dict.fromkeys(point["facet"] for point in points)
    return facets(
        _drawn(x, table).encode(xOffset=beside),
        "Transfer gain against capacity: mean and 95% interval over seeds",
        points,
        [*order],
    )


def _arm(row: Row) -> tuple[Any, ...]:
    return row.model, row.init, row.source, row.train_size


def _gains(table: Sequence[Row]) -> list[tuple[Row, dict[str, Any]]]:
    """The rows of gains, each with what a chart shows of it; one seed has no interval.

    `aside`: the factor by which an init stands beside its place, so that intervals do not cover each other.
    """
    found = []
    order = init_order([row for row in table if row.pair])
    for row in table:
        if row.pair is None or row.metric != "auroc" or row.value is None:
            continue
        low, high = row.interval or (row.value, row.value)
        point = {"model": row.model, "arm": arm(row), "value": row.value, "low": low, "high": high, "n": row.n}
        aside = ASIDE ** (order.index(arm(row)) - (len(order) - 1) / 2)
        found.append((row, {**point, "aside": aside}))
    return found


def _few_ticks() -> alt.Axis:
    return alt.Axis(tickCount=4, format="~s")


def _drawn(x: alt.X, table: Sequence[Row]) -> Any:
    base = alt.Chart(ROWS).encode(x=x, color=init_colour([row for row in table if row.pair]))
    lines = base.mark_line(point=True).encode(
        y=alt.Y(
            "value:Q", title="AUROC gained over random", scale=alt.Scale(zero=True), axis=alt.Axis(gridColor=_ZERO)
        ),
        tooltip=["model:N", "arm:N", "value:Q", "low:Q", "high:Q", "n:Q", "images:Q", "parameters:Q"],
    )
    return lines + base.mark_rule().encode(y="low:Q", y2="high:Q")
