"""Figure 4."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import ROWS, data, facets, first_measure, init_colour, init_shape, stages
from transfusion_core.specs.report import Row


def figure_4(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of each stage to itself before training; the dotted grey line is pretrained minus random."""
    measure = first_measure(table)
    rows = [row for row in table if row.measure == measure]
    x, name = stages("stage, input to output"), f"{measure} with itself before training"
    base = alt.Chart(ROWS).encode(x=x)
    kept = base.transform_filter("!isValid(datum.pair)")
    lines = kept.mark_line().encode(y=alt.Y("value:Q", title=name), color=init_colour(rows))
    points = kept.mark_point(filled=True).encode(
        y="value:Q",
        color=init_colour(rows),
        shape=init_shape(rows),
        tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q", "null_iid:Q"],
    )
    null = kept.mark_line(strokeDash=[2, 2], color="black", opacity=0.5).encode(y="mean(null_iid):Q")
    difference = base.transform_filter("datum.pair == 'pretrained-random'")
    difference = difference.mark_line(strokeDash=[6, 3], color="grey").encode(y="value:Q", detail="arm:N")
    title = "What each layer keeps. Grey dashes: pretrained minus random. Black dots: noise"
    return facets(lines + points + null + difference, title, data(rows))
