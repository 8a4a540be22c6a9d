"""How far weights moved."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import (
    ROWS,
    data,
    drawn,
    facets,
    filled,
    first_measure,
    heat_map,
    init_colour,
    init_shape,
    pair_shape,
    stages,
)
from transfusion_core.specs.report import Row

FILTERS_SIDE = 130
"""Pixels of a picture of filters."""
OF_WEIGHTS = ("relative_l2", "cosine")
"""Measures of weights, not of what layers make of images."""


def movement(table: Sequence[Row]) -> dict[str, Any]:
    """Relative distance that each weight tensor moved."""
    rows = [row for row in table if row.measure == "relative_l2" and row.step is None]
    base = alt.Chart(ROWS).encode(x=stages("weight tensor, input to output"), color=init_colour(rows))
    value = alt.Y("value:Q", title="|W - W0| / |W0|", scale=alt.Scale(type="sqrt"))
    points = base.mark_point(filled=True).encode(
        y=value, shape=init_shape(rows), tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q"]
    )
    return facets(base.mark_line().encode(y=value) + points, "How far the weights moved", data(rows))


def figure_3(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of two networks after training against before; on the diagonal nothing has changed."""
    points = [row for row in table if row.start is not None]
    measure = first_measure(points)
    rows = [row for row in points if row.measure == measure]
    base = alt.Chart(ROWS).encode(
        x=alt.X("start:Q", title=f"{measure} before training", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("value:Q", title=f"{measure} after training", scale=alt.Scale(domain=[0, 1])),
    )
    dots = base.mark_point(filled=True, size=50).encode(
        color=alt.Color("stage:Q", title="stage", scale=alt.Scale(scheme="viridis"), legend=alt.Legend(tickMinStep=1)),
        shape=pair_shape(rows),
        tooltip=["model:N", "pair:N", "layer:N", "start:Q", "value:Q"],
    )
    diagonal = base.transform_calculate(end="datum.start").mark_line(color="grey", strokeDash=[4, 4])
    null = alt.Chart(ROWS).mark_rule(strokeDash=[1, 3]).encode(y="mean(null_iid):Q")
    title = "Do large models move less? On the dashes nothing has changed. Black dots: noise"
    return facets(dots + diagonal.encode(y="end:Q") + null, title, data(rows))


def through_training(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of each layer to itself before training, layer by step."""
    steps = [row for row in table if row.step is not None and row.measure not in OF_WEIGHTS]
    measure = first_measure(steps)
    rows = [row for row in steps if row.measure == measure]
    base = alt.Chart(ROWS).encode(x=alt.X("step:O", title="step"), y=alt.Y("stage:O", title="stage, input at the top"))
    tooltip = ["model:N", "arm:N", "layer:N", "step:Q", "value:Q", "sd:Q", "null_iid:Q"]
    cells = heat_map(base, measure, tooltip=tooltip, columns=len({row.step for row in rows}))
    title = "What each layer keeps, through training. Small squares: noise"
    return facets(cells, title, data(rows, arms_apart=True))


def filters(table: Sequence[Row]) -> dict[str, Any]:
    """The first layer's filters before and after training, of the first seed."""
    pictures = [{**drawn(row), "x": int(row.label == "after"), "y": 0} for row in table if row.picture]
    across = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-0.5, 1.5]))
    base = alt.Chart(ROWS).encode(x=across, y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1, 1])))
    image = base.mark_image(width=FILTERS_SIDE, height=FILTERS_SIDE).encode(url="picture:N")
    name = base.mark_text(dy=FILTERS_SIDE / 2 + 8).encode(text="label:N")
    wide = 2 * (FILTERS_SIDE + 10)
    view = (image + name).properties(width=wide, height=FILTERS_SIDE + 30, view=alt.ViewConfig(stroke=None))
    grid = view.facet(
        facet=alt.Facet("place:N", title=None, header=alt.Header(labelLimit=wide + 40)),
        columns=3,
        title="Filters of the first layer, before and after training",
    )
    return filled(grid, pictures)
