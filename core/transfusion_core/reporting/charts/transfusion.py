"""The ladder of reused stages: quality and speed."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, KINDS, ROWS, SHAPES, data, facets
from transfusion_core.specs.report import Row


def quality_by_stages(table: Sequence[Row]) -> dict[str, Any]:
    """Test AUROC against the stages that come from the source."""
    return _ladder(table, "auroc", "test AUROC", "What reusing the first stages gives")


def steps_by_stages(table: Sequence[Row]) -> dict[str, Any]:
    """Steps to the threshold against the stages that come from the source."""
    return _ladder(table, "steps_to_threshold", "steps to threshold", "What reusing the first stages saves")


def _ladder(table: Sequence[Row], metric: str, title: str, headline: str) -> dict[str, Any]:
    rows = [row for row in table if row.metric == metric and row.pair is None and row.stage is not None]
    if any("mean_var" in str(row.init) for row in rows):
        headline += ". Paler: the rest by Mean Var"
    base = alt.Chart(ROWS).transform_calculate(kind="split(datum.init, '(')[0]")
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    base = base.encode(x=alt.X("stage:Q", title="stages from the source", axis=alt.Axis(tickMinStep=1, format="d")))
    # Two ladders have the same stages: one with random weights above them, one with Mean Var.
    base = base.transform_calculate(scaled="indexof(datum.init, 'mean_var') >= 0")
    ladder = "!datum.scaled && indexof(['transfuse', 'random', 'pretrained'], datum.kind) >= 0"
    line = base.transform_filter(ladder).mark_line(color="grey").encode(y=alt.Y("mean(value):Q", title=title))
    there = [kind for kind in KINDS if any((row.init or "").partition("(")[0] == kind for row in rows)]
    places = [KINDS.index(kind) for kind in there]
    colours, shapes = (alt.Scale(domain=there, range=[looks[i] for i in places]) for looks in (COLOURS, SHAPES))
    colour = alt.Color("kind:N", title="init", scale=colours)
    faint = alt.condition("datum.scaled", alt.value(0.45), alt.value(1))
    spread = base.mark_rule().encode(y="low:Q", y2="high:Q", color=colour, opacity=faint)
    points = base.mark_point(filled=True, size=60).encode(
        y=y,
        color=colour,
        opacity=faint,
        shape=alt.Shape("kind:N", title="init", scale=shapes),
        tooltip=["model:N", "arm:N", "stage:Q", "value:Q", "sd:Q", "n:Q"],
    )
    return facets(line + spread + points, headline, data(rows))
