"""How far weights moved."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import data, facets, init_colour, init_shape, stages
from transfusion_core.specs.report import Row


def movement(table: Sequence[Row]) -> dict[str, Any]:
    """Relative distance that each weight tensor moved."""
    rows = [row for row in table if row.measure == "relative_l2"]
    base = alt.Chart(data(rows)).encode(x=stages("weight tensor, input to output"), color=init_colour(rows))
    value = alt.Y("value:Q", title="|W - W0| / |W0|", scale=alt.Scale(type="sqrt"))
    points = base.mark_point(filled=True).encode(
        y=value, shape=init_shape(rows), tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q"]
    )
    return facets(base.mark_line().encode(y=value) + points, "How far the weights moved")
