"""How far weights moved."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, data, facets
from transfusion_core.specs.report import Row


def movement(table: Sequence[Row]) -> dict[str, Any]:
    """Relative distance that each weight tensor moved."""
    rows = [row for row in table if row.measure == "relative_l2"]
    lines = (
        alt.Chart(data(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("stage:O", title="weight tensor, input to output"),
            y=alt.Y("value:Q", title="|W - W0| / |W0|", scale=alt.Scale(type="symlog", constant=0.01)),
            color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
            tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q"],
        )
    )
    return facets(lines, "How far the weights moved")
