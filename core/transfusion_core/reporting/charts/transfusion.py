"""The ladder of reused stages: quality and speed."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, ROWS, data, facets
from transfusion_core.specs.report import Row


def quality_by_stages(table: Sequence[Row]) -> dict[str, Any]:
    """Test AUROC against the stages that come from the source."""
    return _ladder(table, "auroc", "test AUROC", "What reusing the first stages gives")


def steps_by_stages(table: Sequence[Row]) -> dict[str, Any]:
    """Steps to the threshold against the stages that come from the source."""
    return _ladder(table, "steps_to_threshold", "steps to threshold", "What reusing the first stages saves")


def _ladder(table: Sequence[Row], metric: str, title: str, headline: str) -> dict[str, Any]:
    rows = [row for row in table if row.metric == metric and row.pair is None and row.stage is not None]
    base = alt.Chart(ROWS).transform_calculate(kind="split(datum.init, '(')[0]")
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    base = base.encode(x=alt.X("stage:Q", title="stages from the source", axis=alt.Axis(tickMinStep=1, format="d")))
    ladder = "datum.kind == 'transfuse' || datum.kind == 'random' || datum.kind == 'pretrained'"
    line = base.transform_filter(ladder).mark_line(color="grey").encode(y=y)
    spread = base.mark_rule().encode(y="low:Q", y2="high:Q", color=alt.Color("kind:N", title="init"))
    points = base.mark_point(filled=True, size=60).encode(
        y=y,
        color=alt.Color("kind:N", title="init", scale=alt.Scale(range=COLOURS)),
        shape=alt.Shape("kind:N", title="init"),
        tooltip=["model:N", "arm:N", "stage:Q", "value:Q", "sd:Q", "n:Q"],
    )
    return facets(line + spread + points, headline, data(rows))
