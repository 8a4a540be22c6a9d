"""Figure 2."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import (
    ROWS,
    bars,
    data,
    facets,
    first_measure,
    heat_map,
    pair_colour,
    pair_order,
)
from transfusion_core.specs.report import Row

NAMED = alt.Axis(labelLimit=360)
"""Two names of arms fit in a label."""
MOST_LAYERS = 32
"""A map has so many rows and columns at most: more could not be told apart."""


def figure_2(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of trained networks, top stages averaged; the tick is what independent noise gives."""
    measure = first_measure(table)
    rows = [row for row in table if row.layer is None and row.measure == measure]
    base = alt.Chart(ROWS).encode(y=alt.Y("pair:N", title=None, sort=pair_order(rows), axis=NAMED))
    values = base.mark_bar().encode(
        x=alt.X("value:Q", title=f"{measure} of the top stages", scale=alt.Scale(domain=[0, 1])),
        color=pair_colour(rows),
        tooltip=["model:N", "pair:N", "value:Q", "sd:Q", "null_iid:Q", "n:Q"],
    )
    spread = base.mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    null = base.mark_tick(color="black", thickness=2).encode(x="null_iid:Q")
    title = "Are the learned representations alike? Ticks: independent noise"
    return bars(values + spread + null, title, data(rows), pair_order(rows))


def layer_maps(table: Sequence[Row]) -> dict[str, Any]:
    """Every layer of one network against every layer of another: a bright diagonal where both do alike in order."""
    rows = [row for row in table if row.metric == "layers"]
    layers = _layers(rows)
    thinned = [row for row in rows if row.layer in layers and row.layer_b in layers]
    marked = [{**point, "facet": f"{point['facet']}, {point['pair']}"} for point in data(thinned)]
    base = alt.Chart(ROWS).encode(
        x=alt.X("layer_b:N", title="layer of the second", sort=list(layers)),
        y=alt.Y("layer:N", title="layer of the first", sort=list(layers)),
    )
    tooltip = ["model:N", "pair:N", "layer:N", "layer_b:N", "value:Q", "null_iid:Q"]
    most = max((len(_layers([row for row in thinned if row.model == model])) for model in _models(rows)), default=1)
    cells = heat_map(base, "cka", tooltip=tooltip, columns=most)
    title = "Every layer with every other, after training. Small squares: noise"
    return facets(cells, title, marked, independent=True)


def _models(rows: Sequence[Row]) -> dict[str | None, None]:
    return dict.fromkeys(row.model for row in rows)


def _layers(rows: Sequence[Row]) -> dict[str, None]:
    """The layers that are drawn, in order: of each model every one, or every n-th where there are too many."""
    of_model: dict[str | None, dict[str, None]] = {}
    for row in rows:
        of_model.setdefault(row.model, {})[str(row.layer)] = None
    drawn: dict[str, None] = {}
    for names in of_model.values():
        drawn |= dict.fromkeys(list(names)[:: -(-len(names) // MOST_LAYERS)])
    return drawn
