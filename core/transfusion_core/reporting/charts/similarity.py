"""Figure 2."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, data, drawn, facets, first_measure
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


def layer_maps(table: Sequence[Row]) -> dict[str, Any]:
    """Every layer of one network against every layer of another: a bright diagonal where both do alike in order."""
    rows = [row for row in table if row.metric == "layers"]
    layers = list(dict.fromkeys(str(row.layer) for row in rows))
    marked = [{**drawn(row), "facet": f"{drawn(row)['facet']}, {row.pair}"} for row in rows if row.value is not None]
    cells = (
        alt.Chart(alt.InlineData(values=marked))
        .mark_rect()
        .encode(
            x=alt.X("layer_b:N", title="layer of the second", sort=layers),
            y=alt.Y("layer:N", title="layer of the first", sort=layers),
            color=alt.Color("value:Q", title="cka", scale=alt.Scale(scheme="viridis", domain=[0, 1])),
            tooltip=["model:N", "pair:N", "layer:N", "layer_b:N", "value:Q"],
        )
    )
    return facets(cells, "Every layer with every other, after training", independent=True)
