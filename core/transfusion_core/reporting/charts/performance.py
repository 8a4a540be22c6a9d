"""Tables 1 and 2 as a picture."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, ROWS, data, facets
from transfusion_core.specs.report import Row


def performance(table: Sequence[Row], label: str) -> dict[str, Any]:
    """Table 1 as a picture: AUROC of the headline label per model and init, with its standard deviation."""
    rows = [row for row in table if row.pair is None and (row.label, row.metric) == (label, "auroc")]
    base = alt.Chart(ROWS).encode(
        x=alt.X("arm:N", title=None),
        color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
    )
    points = base.mark_point(filled=True, size=70).encode(
        y=alt.Y("value:Q", title=f"test AUROC ({label})", scale=alt.Scale(zero=False)),
        tooltip=["model:N", "arm:N", "train_size:N", "value:Q", "sd:Q", "n:Q"],
    )
    spread = base.mark_rule().encode(y="low:Q", y2="high:Q")
    return facets(points + spread, "Final quality: mean and standard deviation over seeds", data(rows))
