"""Figure 2."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, data, facets, first_measure
from transfusion_core.specs.report import Row


def figure_2(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of trained networks, top stages averaged; the tick is what independent noise gives."""
    rows = [row for row in table if row.layer is None and row.measure == first_measure(table)]
    base = alt.Chart(data(rows)).encode(x=alt.X("pair:N", title=None))
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", title=f"{first_measure(table)} of the top stages", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("pair:N", scale=alt.Scale(range=COLOURS)),
        tooltip=["model:N", "pair:N", "value:Q", "sd:Q", "null_iid:Q", "n:Q"],
    )
    null = base.mark_tick(color="black", thickness=2).encode(y="null_iid:Q")
    return facets(bars + null, "Are the learned representations alike? Black: independent noise")
