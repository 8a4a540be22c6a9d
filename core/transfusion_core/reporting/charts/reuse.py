"""Figure 4."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, ROWS, data, facets, first_measure
from transfusion_core.specs.report import Row


def figure_4(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of each stage to itself before training; the dotted grey line is pretrained minus random."""
    measure = first_measure(table)
    rows = [row for row in table if row.measure == measure]
    base = alt.Chart(ROWS).encode(x=alt.X("stage:O", title="stage, input to output"))
    kept = (
        base.transform_filter("!isValid(datum.pair)")
        .mark_line(point=True)
        .encode(
            y=alt.Y("value:Q", title=f"{measure} with itself before training"),
            color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
            tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q", "null_iid:Q"],
        )
    )
    null = base.transform_filter("!isValid(datum.pair)").mark_line(strokeDash=[2, 2], color="black", opacity=0.4)
    difference = base.transform_filter("datum.pair == 'pretrained-random'").mark_line(strokeDash=[4, 4], color="grey")
    layers = kept + null.encode(y="mean(null_iid):Q") + difference.encode(y="value:Q", detail="arm:N")
    return facets(layers, "What each layer keeps. Grey dashes: pretrained minus random. Black dots: noise", data(rows))
