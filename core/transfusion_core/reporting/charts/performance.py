"""Tables 1 and 2 as a picture."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import ROWS, bars, data, headline, init_colour, init_order, init_shape
from transfusion_core.specs.report import Row


def performance(table: Sequence[Row]) -> dict[str, Any]:
    """Table 1 as a picture: AUROC of the headline label per model and init, with its standard deviation."""
    label = headline([row.label for row in table])
    rows = [row for row in table if row.pair is None and (row.label, row.metric) == (label, "auroc")]
    base = alt.Chart(ROWS).encode(
        y=alt.Y("arm:N", title=None, sort=init_order(rows)), color=init_colour(rows, legend=False)
    )
    value = alt.X("value:Q", title=f"test AUROC ({label})", scale=alt.Scale(zero=False, padding=8))
    spread = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=f"test AUROC ({label})"), x2="high:Q")
    points = base.mark_point(filled=True, size=80).encode(
        x=value,
        shape=init_shape(rows, legend=False),
        tooltip=["model:N", "arm:N", "train_size:N", "value:Q", "sd:Q", "n:Q"],
    )
    title = "Final quality: mean and standard deviation over seeds"
    return bars(spread + points, title, data(rows), init_order(rows))
