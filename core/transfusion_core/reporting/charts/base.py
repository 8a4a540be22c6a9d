"""The look that all charts share: colours, one for each init wherever it is drawn, small multiples, rows as data."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt

from transfusion_core.specs.report import Row

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"]
"""Okabe and Ito's palette: told apart by colour-blind readers."""
KINDS = ("random", "pretrained", "mean_var", "gabor", "transfuse", "slim")
"""The order of inits in every legend; each kind has the colour of its place."""
SHAPES = [
    *("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left"),
    "M0,-1L.3,-.3L1,0L.3,.3L0,1L-.3,.3L-1,0L-.3,-.3Z",  # a star
    "M-1,-1L1,-1L-1,1L1,1Z",  # an hourglass
]
"""Points tell inits apart where there is no colour."""
LIGHTEST = 0.65
"""How far the last of several inits of one kind is mixed with white."""
WIDTH, HEIGHT = 220, 180
STEP = 22
"""Height of a bar with its name."""
MOST_NULL_SIDE = 8
"""Pixels of the square that shows in a map what noise would give."""
MOST_SHARED = 10
"""So many names at most stand on an axis that models share."""
THEME: dict[str, Any] = {
    "font": "Helvetica, Arial, sans-serif",
    "background": "white",
    "title": {"fontSize": 14, "anchor": "start", "offset": 10},
    "header": {"labelFontSize": 12, "labelFontWeight": "bold"},
    "axis": {
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 220,
        "gridColor": "#e4e4e4",
    },
    "axisX": {"labelAngle": 0, "labelOverlap": True, "labelSeparation": 5},
    "legend": {"labelFontSize": 11, "titleFontSize": 12, "labelLimit": 260, "symbolOpacity": 1, "symbolSize": 70},
    "line": {"strokeWidth": 1.8},
    "point": {"size": 45, "opacity": 1},
}
"""Sizes that can still be read where three charts share the width of a printed page."""


def first_measure(table: Sequence[Row]) -> str:
    """The measure drawn: the first one of the spec that has a value, as the table is in the spec's order."""
    measures = [row.measure for row in table if row.measure and row.value is not None]
    return measures[0] if measures else "similarity"


def headline(labels: Sequence[str | None]) -> str:
    """The label that stands for a whole run: the referable threshold of grades, else the macro average."""
    return next((label for label in (">=2", ">=1") if label in labels), "macro")


ROWS = alt.NamedData(name="rows")
"""A chart's data while it is put together; `facets` fills in the values, which Altair would take minutes to check."""


def data(rows: Sequence[Row], *, arms_apart: bool = False) -> list[dict[str, Any]]:
    """The rows that have a value, as a chart's data. `arms_apart`: small multiples are of arms, not of models."""
    values = [drawn(row) for row in rows if row.value is not None]
    return [{**value, "facet": value["place"]} if arms_apart else value for value in values]


def drawn(row: Row) -> dict[str, Any]:
    """A row with the words that the legend shows and the ends of its spread."""
    spread, value, name = row.sd or 0.0, row.value or 0.0, arm(row)
    size = "" if row.train_size in (None, "all") else f", {row.train_size} images"
    facet = f"{row.model}{size}"
    words = {"facet": facet, "arm": name, "place": f"{facet}, {name}", "low": value - spread, "high": value + spread}
    return {**row.model_dump(mode="json", exclude_none=True, exclude={"text"}), **words}


def arm(row: Row) -> str:
    """The init as legends call it."""
    return f"{row.init} ({row.source})" if row.source else str(row.init)


def init_order(rows: Sequence[Row]) -> list[str]:
    """The inits of some rows, in the order that every chart keeps; those of one kind as the table has them."""
    inits = {arm(row): _place(row.init) for row in rows if row.init}
    return sorted(inits, key=inits.__getitem__)


def init_colour(rows: Sequence[Row], *, legend: bool = True) -> alt.Color:
    """A colour for each init: that of its kind, lighter for each further one of that kind."""
    order = init_order(rows)
    scale = alt.Scale(domain=order, range=_colours(rows, order))
    return alt.Color("arm:N", title="init", scale=scale, sort=order, **_legend(legend))


def init_shape(rows: Sequence[Row], *, legend: bool = True) -> alt.Shape:
    """A point for each init, in one legend with its colour."""
    order = init_order(rows)
    shapes = [SHAPES[place % len(SHAPES)] for place, _ in enumerate(order)]
    scale = alt.Scale(domain=order, range=shapes)
    return alt.Shape("arm:N", title="init", scale=scale, sort=order, **_legend(legend))


def _legend(wanted: bool) -> dict[str, Any]:
    """Where an axis names the inits, a legend would say it twice."""
    return {} if wanted else {"legend": None}


def _place(init: str | None) -> int:
    kind = (init or "").partition("(")[0]
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _colours(rows: Sequence[Row], order: Sequence[str]) -> list[str]:
    places = {arm(row): _place(row.init) for row in rows if row.init}
    alike = {name: [other for other in order if places[other] == places[name]] for name in order}
    return [
        tint(COLOURS[places[name]], LIGHTEST * group.index(name) / max(1, len(group) - 1))
        for name, group in alike.items()
    ]


def pair_order(rows: Sequence[Row]) -> list[str]:
    """The pairs of inits of some rows, in the order of their first inits."""
    pairs = {row.pair: _place(row.init) for row in rows if row.pair}
    return sorted(pairs, key=lambda pair: (pairs[pair], pair))


def pair_colour(rows: Sequence[Row]) -> alt.Color:
    """A colour for each pair of inits: that of the first, light where the second is another."""
    order, firsts = pair_order(rows), {row.pair: row.init for row in rows}
    lightness = {pair: 0.0 if pair == f"{firsts[pair]}-{firsts[pair]}" else 0.5 for pair in order}
    colours = [tint(COLOURS[_place(firsts[pair])], lightness[pair]) for pair in order]
    return alt.Color("pair:N", legend=None, scale=alt.Scale(domain=order, range=colours))


def pair_shape(rows: Sequence[Row]) -> alt.Shape:
    """A point for each pair of inits."""
    order = pair_order(rows)
    shapes = [SHAPES[place % len(SHAPES)] for place, _ in enumerate(order)]
    return alt.Shape("pair:N", title="networks", sort=order, scale=alt.Scale(domain=order, range=shapes))


def heat_map(base: Any, measure: str, *, tooltip: Sequence[str], columns: int) -> Any:
    """Cells in the colour of their value, and in the middle of each a square in that of independent noise.

    `base` has the axes; `columns` is how many cells stand side by side, so that the square leaves most of its cell.
    """
    scale = alt.Scale(scheme="viridis", domain=[0, 1])
    cells = base.mark_rect().encode(color=alt.Color("value:Q", title=measure, scale=scale), tooltip=list(tooltip))
    side = min(MOST_NULL_SIDE, WIDTH / max(1, columns) / 3)
    null = base.mark_square(size=side**2, opacity=1, stroke="white", strokeWidth=0.4).encode(
        color=alt.Color("null_iid:Q", title=measure, scale=scale)
    )
    return cells + null


def tint(colour: str, share: float) -> str:
    """A colour `#rrggbb` mixed with this share of white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)


def stages(title: str) -> alt.X:
    """Layers from input to output, by number: names are in the tooltip."""
    return alt.X("stage:O", title=title)


def facets(
    chart: Any, title: str, rows: Sequence[dict[str, Any]], order: Sequence[str] = (), *, independent: bool = False
) -> dict[str, Any]:
    """Small multiples of a chart of `ROWS`, one per model and train size; by name unless an order is given.

    `independent`: each has axes of its own.
    """
    faceted = _faceted(chart.properties(width=WIDTH, height=HEIGHT), title, order)
    if independent:
        faceted = faceted.resolve_scale(x="independent", y="independent")
    return filled(faceted, rows)


def bars(chart: Any, title: str, rows: Sequence[dict[str, Any]], named: Sequence[str]) -> dict[str, Any]:
    """Small multiples whose vertical axis names things, with room for each name.

    `named` are those names, over all multiples. Where they are many, each multiple has an axis of its own things: the
    rungs of one model's ladder are no rungs of another's.
    """
    faceted = _faceted(chart.properties(width=WIDTH, height=alt.Step(STEP)), title)
    if len(named) > MOST_SHARED:
        faceted = faceted.resolve_scale(y="independent")
    return filled(faceted, rows)


def _faceted(chart: Any, title: str, order: Sequence[str] = ()) -> Any:
    facet = alt.Facet("facet:N", title=None, sort=list(order) or alt.Undefined)
    # An axis under each: a shared one would stand under the empty places of the last row.
    return chart.facet(facet=facet, columns=3, title=title).resolve_axis(x="independent")


def filled(chart: Any, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The specification of a chart of `ROWS` with the shared look and its data: the fields that it looks at."""
    specification: dict[str, Any] = chart.to_dict()
    specification["config"] = THEME
    used = set(_fields(specification))
    specification["datasets"] = {ROWS.name: [{k: v for k, v in row.items() if k in used} for row in rows]}
    return specification


def _fields(specification: Any) -> Iterator[str]:
    """Every field that a specification names, in an encoding or in an expression."""
    if isinstance(specification, dict):
        if isinstance(specification.get("field"), str):
            yield specification["field"]
        for part in specification.values():
            yield from _fields(part)
    elif isinstance(specification, list):
        for part in specification:
            yield from _fields(part)
    elif isinstance(specification, str):
        yield from re.findall(r"datum\.(\w+)", specification)
