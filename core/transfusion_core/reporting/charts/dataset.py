"""Figure 1: the images, how many of each class there are, and whether networks need their shapes."""

from collections.abc import Sequence
from typing import Any

import altair as alt

from transfusion_core.reporting.charts.base import COLOURS, HEIGHT, ROWS, STEP, THEME, WIDTH, filled
from transfusion_core.reporting.charts.robustness import auroc_by_blocks
from transfusion_core.specs.profile import SAMPLE_SIDE, SAMPLES_PER_CLASS
from transfusion_core.specs.report import Row

CHANNELS = {"grey": COLOURS[6], "red": COLOURS[1], "green": COLOURS[2], "blue": COLOURS[0]}
SPLITS = ("train", "val", "test")


def classes(table: Sequence[Row]) -> dict[str, Any]:
    """Images of each class in each split."""
    rows = [row for row in table if row.metric == "images" and row.label]
    names = list(dict.fromkeys(row.label for row in rows if row.label))
    chart = (
        alt.Chart(ROWS)
        .mark_bar(color=COLOURS[0])
        .encode(
            y=alt.Y("label:N", title=None, sort=names),
            x=alt.X("value:Q", title="images", axis=alt.Axis(tickMinStep=1)),
            tooltip=["split:N", "label:N", "value:Q"],
        )
        .properties(width=WIDTH, height=alt.Step(STEP))
        .facet(column=alt.Column("split:N", title=None, sort=list(SPLITS)), title="Images of each class")
        .resolve_scale(x="independent")
    )
    return filled(chart, [row.model_dump(mode="json", exclude_none=True) for row in rows])


def resolutions(table: Sequence[Row]) -> dict[str, Any]:
    """Images of each size in pixels, the most frequent first."""
    rows = [row for row in table if row.metric == "resolution"]
    chart = (
        alt.Chart(ROWS, title="Images of each size")
        .mark_bar(color=COLOURS[0])
        .encode(
            y=alt.Y("label:N", title="width x height in pixels", sort=[row.label for row in rows if row.label]),
            x=alt.X("value:Q", title="images", axis=alt.Axis(tickMinStep=1)),
            tooltip=["label:N", "value:Q"],
        )
        .properties(width=WIDTH, height=alt.Step(STEP))
    )
    return filled(chart, [row.model_dump(mode="json", exclude_none=True) for row in rows])


def intensities(table: Sequence[Row]) -> dict[str, Any]:
    """How bright pixels are, by channel."""
    rows = [row for row in table if row.metric == "intensity"]
    names = list(dict.fromkeys(row.measure for row in rows if row.measure))
    colours = [CHANNELS[name] for name in names]
    chart = (
        alt.Chart(ROWS, title="Brightness of pixels")
        .mark_line(interpolate="step")
        .encode(
            x=alt.X("label:Q", title="0 black, 1 white", scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("value:Q", title="share of pixels"),
            color=alt.Color("measure:N", title=None, scale=alt.Scale(domain=names, range=colours)),
            tooltip=["measure:N", "label:Q", "value:Q"],
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return filled(chart, [row.model_dump(mode="json", exclude_none=True) for row in rows])


def samples(table: Sequence[Row]) -> dict[str, Any]:
    """A few train images of each class, drawn at random."""
    rows: list[dict[str, Any]] = [
        {"label": row.label, "picture": row.picture, "x": 0, "y": 0} for row in table if row.metric == "samples"
    ]
    width = SAMPLES_PER_CLASS * SAMPLE_SIDE
    image = (
        alt.Chart(ROWS)
        .mark_image(width=width, height=SAMPLE_SIDE, align="left")
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[-1, 1])),
            url="picture:N",
        )
        .properties(width=width, height=SAMPLE_SIDE, view=alt.ViewConfig(stroke=None))
    )
    names = [row["label"] for row in rows]
    header = alt.Header(labelAngle=0, labelAlign="left", labelLimit=THEME["axis"]["labelLimit"])
    grid = image.facet(
        row=alt.Row("label:N", title=None, sort=names, header=header),
        spacing=4,
        title="Images of each class, from the train split",
    )
    return filled(grid, rows)


def texture(table: Sequence[Row]) -> dict[str, Any]:
    """AUROC of trained networks where test images are cut into blocks and shuffled."""
    return auroc_by_blocks(table)
