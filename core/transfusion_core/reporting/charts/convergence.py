"""Figure 5."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, ROWS, data, facets
from transfusion_core.specs.report import Row


def figure_5(table: Sequence[Row]) -> dict[str, Any]:
    """Test AUROC against step per init, with its standard deviation over seeds."""
    rows = [row for row in table if row.metric == "auroc" and row.step is not None]
    base = alt.Chart(ROWS).encode(x=alt.X("step:Q", title="step"))
    lines = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title="test AUROC", scale=alt.Scale(zero=False)),
        color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
        tooltip=["model:N", "arm:N", "step:Q", "value:Q", "sd:Q"],
    )
    band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q", color=alt.Color("arm:N"))
    return facets(band + lines, "Convergence: mean and standard deviation over seeds", data(rows))
