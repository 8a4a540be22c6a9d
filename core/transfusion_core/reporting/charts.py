"""One function per figure, from the long table to a Vega-Lite specification. The table redraws every chart."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.specs.report import Row

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
"""Okabe and Ito's palette: told apart by colour-blind readers."""
WIDTH, HEIGHT = 220, 180


def performance(table: Sequence[Row], label: str) -> dict[str, Any]:
    """Table 1 as a picture: AUROC of the headline label per model and init, with its standard deviation."""
    rows = [row for row in table if row.pair is None and (row.label, row.metric) == (label, "auroc")]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("arm:N", title=None),
        color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
    )
    points = base.mark_point(filled=True, size=70).encode(
        y=alt.Y("value:Q", title=f"test AUROC ({label})", scale=alt.Scale(zero=False)),
        tooltip=["model:N", "arm:N", "train_size:N", "value:Q", "sd:Q", "n:Q"],
    )
    spread = base.mark_rule().encode(y="low:Q", y2="high:Q")
    return _facets(points + spread, "Final quality: mean and standard deviation over seeds")


def figure_2(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of trained networks, top stages averaged; the tick is what independent noise gives."""
    rows = [row for row in table if row.layer is None and row.measure == _first_measure(table)]
    base = alt.Chart(_data(rows)).encode(x=alt.X("pair:N", title=None))
    bars = base.mark_bar().encode(
        y=alt.Y("value:Q", title=f"{_first_measure(table)} of the top stages", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("pair:N", scale=alt.Scale(range=COLOURS)),
        tooltip=["model:N", "pair:N", "value:Q", "sd:Q", "null_iid:Q", "n:Q"],
    )
    null = base.mark_tick(color="black", thickness=2).encode(y="null_iid:Q")
    return _facets(bars + null, "Are the learned representations alike? Black: independent noise")


def figure_4(table: Sequence[Row]) -> dict[str, Any]:
    """Similarity of each stage to itself before training; the dotted grey line is pretrained minus random."""
    rows = [row for row in table if row.measure == _first_measure(table)]
    base = alt.Chart(_data(rows)).encode(x=alt.X("stage:O", title="stage, input to output"))
    kept = (
        base.transform_filter("!isValid(datum.pair)")
        .mark_line(point=True)
        .encode(
            y=alt.Y("value:Q", title=f"{_first_measure(table)} with itself before training"),
            color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
            tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q", "null_iid:Q"],
        )
    )
    null = base.transform_filter("!isValid(datum.pair)").mark_line(strokeDash=[2, 2], color="black", opacity=0.4)
    difference = base.transform_filter("datum.pair == 'pretrained-random'").mark_line(strokeDash=[4, 4], color="grey")
    layers = kept + null.encode(y="mean(null_iid):Q") + difference.encode(y="value:Q", detail="arm:N")
    return _facets(layers, "What each layer keeps. Grey dashes: pretrained minus random. Black dots: noise")


def movement(table: Sequence[Row]) -> dict[str, Any]:
    """Relative distance that each weight tensor moved."""
    rows = [row for row in table if row.measure == "relative_l2"]
    lines = (
        alt.Chart(_data(rows))
        .mark_line(point=True)
        .encode(
            x=alt.X("stage:O", title="weight tensor, input to output"),
            y=alt.Y("value:Q", title="|W - W0| / |W0|", scale=alt.Scale(type="symlog", constant=0.01)),
            color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
            tooltip=["model:N", "arm:N", "layer:N", "value:Q", "sd:Q"],
        )
    )
    return _facets(lines, "How far the weights moved")


def figure_5(table: Sequence[Row]) -> dict[str, Any]:
    """Test AUROC against step per init, with its standard deviation over seeds."""
    rows = [row for row in table if row.metric == "auroc" and row.step is not None]
    base = alt.Chart(_data(rows)).encode(x=alt.X("step:Q", title="step"))
    lines = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title="test AUROC", scale=alt.Scale(zero=False)),
        color=alt.Color("arm:N", title="init", scale=alt.Scale(range=COLOURS)),
        tooltip=["model:N", "arm:N", "step:Q", "value:Q", "sd:Q"],
    )
    band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q", color=alt.Color("arm:N"))
    return _facets(band + lines, "Convergence: mean and standard deviation over seeds")


def _first_measure(table: Sequence[Row]) -> str:
    """The measure drawn: the first one of the spec that has a value, as the table is in the spec's order."""
    measures = [row.measure for row in table if row.measure and row.value is not None]
    return measures[0] if measures else "similarity"


def _data(rows: Sequence[Row]) -> alt.InlineData:
    return alt.InlineData(values=[_drawn(row) for row in rows if row.value is not None])


def _drawn(row: Row) -> dict[str, Any]:
    """A row with the words that the legend shows and the ends of its spread."""
    spread, value = row.sd or 0.0, row.value or 0.0
    size = "" if row.train_size in (None, "all") else f", {row.train_size} images"
    arm = f"{row.init} ({row.source})" if row.source else str(row.init)
    drawn = row.model_dump(mode="json", exclude_none=True)
    return {**drawn, "facet": f"{row.model}{size}", "arm": arm, "low": value - spread, "high": value + spread}


def _facets(chart: Any, title: str) -> dict[str, Any]:
    """Small multiples, one per model and train size."""
    chart = chart.properties(width=WIDTH, height=HEIGHT)
    faceted = chart.facet(facet=alt.Facet("facet:N", title=None), columns=3, title=title)
    drawn: dict[str, Any] = faceted.configure_axis(labelLimit=160).to_dict()
    return drawn
