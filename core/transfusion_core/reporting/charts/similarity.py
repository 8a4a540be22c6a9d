"""Figure 2."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import bars, data, first_measure, pair_colour, pair_order
from transfusion_core.specs.report import Row


def figure_2(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of trained networks, top stages averaged; the tick is what independent noise gives."""
    measure = first_measure(table)
    rows = [row for row in table if row.layer is None and row.measure == measure]
    base = alt.Chart(data(rows)).encode(y=alt.Y("pair:N", title=None, sort=pair_order(rows)))
    values = base.mark_bar().encode(
        x=alt.X("value:Q", title=f"{measure} of the top stages", scale=alt.Scale(domain=[0, 1])),
        color=pair_colour(rows),
        tooltip=["model:N", "pair:N", "value:Q", "sd:Q", "null_iid:Q", "n:Q"],
    )
    spread = base.mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    null = base.mark_tick(color="black", thickness=2).encode(x="null_iid:Q")
    return bars(
        values + spread + null, "Are the learned representations alike? Ticks: independent noise", pair_order(rows)
    )
