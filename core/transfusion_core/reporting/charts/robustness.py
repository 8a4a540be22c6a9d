"""What trained networks rest on, as pictures."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import ROWS, data, facets, init_colour, stages
from transfusion_core.specs.report import Row

STAGE = stages("stage, input to output")
DASHES = [[1, 0], [5, 3]]
TOLD = ["model:N", "arm:N", "measure:N", "layer:N", "blocks:Q", "value:Q", "sd:Q", "n:Q"]


def drop_by_stage(table: Sequence[Row]) -> dict[str, Any]:
    """AUROC lost where one stage is put back: solid to its initial values, dashed to fresh random ones."""
    y = alt.Y("value:Q", title="test AUROC lost")
    title = "What is lost with each stage: mean and standard deviation over seeds"
    return _lines(table, ("reinit", "rerand"), title, x=STAGE, y=y)


def probes_by_stage(table: Sequence[Row]) -> dict[str, Any]:
    """AUROC that can be read off each stage: solid by a vote of neighbours, dashed by a linear probe."""
    y = alt.Y("value:Q", title="test AUROC of the probe", scale=alt.Scale(zero=False))
    title = "What can be read off each stage: mean and standard deviation over seeds"
    return _lines(table, ("knn", "linear_probe"), title, x=STAGE, y=y)


def auroc_by_blocks(table: Sequence[Row]) -> dict[str, Any]:
    """AUROC against blocks per side: flat where texture is enough, falling where shape is needed."""
    x = alt.X("blocks:O", title="blocks per side", axis=alt.Axis(labelAngle=0))
    y = alt.Y("value:Q", title="test AUROC", scale=alt.Scale(zero=False))
    rows = [row for row in table if row.metric == "auroc"]
    return _lines(rows, ("block_shuffle",), "Texture or shape? Test images cut into blocks and shuffled", x=x, y=y)


def _lines(table: Sequence[Row], measures: tuple[str, ...], title: str, *, x: alt.X, y: alt.Y) -> dict[str, Any]:
    """A line per init and measure with its spread; the order of `measures` is solid, dashed."""
    rows = [row for row in table if row.measure in measures]
    base = alt.Chart(ROWS).encode(x=x, color=init_colour(rows))
    legend = alt.Legend(symbolType="stroke", symbolSize=400, symbolStrokeColor="black", symbolFillColor="transparent")
    dash = alt.StrokeDash(
        "measure:N",
        title="measure",
        scale=alt.Scale(domain=list(measures), range=DASHES[: len(measures)]),
        legend=legend if len(measures) > 1 else None,
    )
    lines = base.mark_line(point=True).encode(y=y, strokeDash=dash, tooltip=TOLD)
    spread = base.mark_rule(opacity=0.4).encode(y="low:Q", y2="high:Q")
    return facets(lines + spread, title, data(rows))
