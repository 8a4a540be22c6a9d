"""Figure 5."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import ROWS, data, facets, init_colour, init_shape
from transfusion_core.specs.report import Row


def figure_5(table: Sequence[Row]) -> dict[str, Any]:
    """Test AUROC against step per init, with its standard deviation over seeds."""
    rows = [row for row in table if row.metric == "auroc" and row.step is not None]
    base = alt.Chart(ROWS).encode(x=alt.X("step:Q", title="step"), color=init_colour(rows))
    value = alt.Y("value:Q", title="test AUROC", scale=alt.Scale(zero=False))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title="test AUROC"), y2="high:Q")
    lines = base.mark_line().encode(y=value)
    points = base.mark_point(filled=True).encode(
        y=value, shape=init_shape(rows), tooltip=["model:N", "arm:N", "step:Q", "value:Q", "sd:Q"]
    )
    return facets(band + lines + points, "Convergence: mean and standard deviation over seeds", data(rows))
