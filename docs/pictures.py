"""The pictures of docs/similarity.md, drawn with the engine itself from fixed seeds: `python docs/pictures.py`.

Every picture is a function that returns a chart, and takes a few seconds of one core. Networks are small, random and
untrained; images are smooth random blobs. No picture is about trained networks.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import altair as alt
import numpy as np
import torch
import vl_convert
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from transfusion_core.reporting.charts.base import COLOURS
from transfusion_core.science.similarity import (
    MEASURES,
    Moments,
    Options,
    PairResult,
    Sampling,
    cca,
    compare,
    iid_baseline,
)

Chart: TypeAlias = alt.LayerChart | alt.FacetChart

FOLDER = Path(__file__).parent / "pictures"
BLUE, ORANGE, GREEN, PINK = COLOURS[:4]
NULLS = alt.Scale(domain=["value", "permutation null", "i.i.d. null"], range=[BLUE, ORANGE, COLOURS[-1]])
LOG_AXIS = alt.Axis(values=[50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000], labelOverlap=True)
SHALLOW, DEEP = (16, 32, 48), (16, 24, 32, 48, 48, 48)
AVERAGED = Sampling(positions_per_image=None)


# --- what is compared ---


def network(seed: int, widths: Iterable[int]) -> nn.Sequential:
    """Random convolutions with ReLU; every second one halves the map."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    channels = 3
    for depth, width in enumerate(widths):
        modules += [nn.Conv2d(channels, width, 3, padding=1, stride=1 + depth % 2), nn.ReLU()]
        channels = width
    return nn.Sequential(*modules)


def after_relu(model: nn.Sequential) -> list[str]:
    """Paths of the layers, input to output."""
    return [name for name, module in model.named_modules() if isinstance(module, nn.ReLU)]


def blobs(count: int, *, seed: int = 0) -> Tensor:
    """Smooth random images (count, 3, 16, 16): neighbouring positions are alike, as in photographs."""
    coarse = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    return interpolate(coarse, size=(16, 16), mode="bilinear", align_corners=True)


def moments_of(x: NDArray[np.float64], y: NDArray[np.float64]) -> Moments:
    """Sums over samples x (n, p) and y (n, q)."""
    moments = Moments(x.shape[1], y.shape[1])
    moments.update(x, y)
    return moments


# --- the pictures ---


def noise() -> Chart:
    """Mean CCA of independent noise: the baseline as lines, simulated noise as dots."""
    generator = np.random.default_rng(0)
    sizes = np.unique(np.geomspace(70, 40_000, 60).round().astype(int))
    lines = [
        {"n": int(n), "value": iid_baseline(int(n), d, d), "d": f"d = {d}"}
        for d in (64, 512, 2048)
        for n in sizes[sizes > d + 1]
    ]
    drawn = [(n, 64) for n in (80, 120, 200, 400, 1000, 3000, 10_000)] + [(n, 512) for n in (800, 2000, 5000)]
    dots = [
        {"n": n, "value": cca(moments_of(*(generator.standard_normal((n, d)) for _ in "xy"))).mean, "d": f"d = {d}"}
        for n, d in drawn
    ]
    rules = [{"n": 5 * d, "d": f"d = {d}"} for d in (64, 512, 2048)]
    x = alt.X("n:Q", title="samples n", scale=alt.Scale(type="log", domain=[64, 40_000]), axis=LOG_AXIS)
    y = alt.Y("value:Q", title="mean CCA of two noise layers", scale=alt.Scale(domain=[0, 1]))
    colour = alt.Color("d:N", title="neurons", sort=None, scale=alt.Scale(range=[BLUE, ORANGE, GREEN]))
    return alt.layer(
        alt.Chart(_data(rules)).mark_rule(strokeDash=[3, 3], opacity=0.6).encode(x=x, color=colour),
        alt.Chart(_data(lines)).mark_line().encode(x=x, y=y, color=colour),
        alt.Chart(_data(dots)).mark_point(filled=True, size=45).encode(x=x, y=y, color=colour),
    ).properties(width=420, height=240, title="What pure noise scores. Dots: simulated. Dashes: n = 5 d")


def changes() -> Chart:
    """Every measure between a layer and a changed copy of it: 64 neurons of falling variance, 5,000 samples."""
    found = []
    for change, (layer, other) in _changed_layers().items():
        moments = moments_of(layer, other)
        for name, measure in MEASURES.items():
            value = measure(moments.pair, 0.99).value
            assert value is not None, f"{name} of layers that vary"
            unlike = value / 2 if name == "procrustes" else 1 - value
            text = f"{round(value, 2) + 0:.2f}"
            found.append({"change": change, "measure": name, "unlike": unlike, "text": text})
    base = alt.Chart(_data(found)).encode(
        x=alt.X("measure:N", title=None, sort=None, axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("change:N", title=None, sort=None, axis=alt.Axis(labelLimit=300)),
    )
    shade = alt.Opacity("unlike:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 1]))
    text = base.mark_text().encode(text="text:N", color=alt.value("black"))
    return alt.layer(base.mark_rect(color=ORANGE, stroke="#cccccc").encode(opacity=shade), text).properties(
        width=560, height=210, title="A layer against a changed copy of itself. White: alike; procrustes is a distance"
    )


def nulls() -> Chart:
    """Two independent untrained networks, layer by layer, with both nulls and the interval."""
    a, b = network(1, DEEP), network(2, DEEP)
    measures = ["cca", "svcca", "cka"]
    results = compare(a, b, blobs(600), layers=after_relu(a), measures=measures)
    depth = {layer: number for number, layer in enumerate(after_relu(a), start=1)}
    rows = [row | {"layer": depth[result.layer_a]} for result in results for row in _beside_nulls(result)]
    return _beside(rows, x=alt.X("layer:O", title="layer"), order=measures).properties(
        title="Two untrained networks, 600 images, 16 positions of each"
    )


def sizes() -> Chart:
    """The same two layers on more and more images, maps averaged, so that every sample is an image of its own."""
    a, b, images = network(1, SHALLOW), network(2, SHALLOW), blobs(3200)
    measures, rows = ["cca", "svcca", "cka", "cka_debiased"], []
    for count in (50, 100, 200, 400, 800, 1600, 3200):
        found = compare(a, b, images[:count], layers=["5"], measures=measures, options=Options(sampling=AVERAGED))
        rows += [row | {"images": count} for result in found for row in _beside_nulls(result)]
    x = alt.X("images:Q", title="images", scale=alt.Scale(type="log"), axis=LOG_AXIS)
    return _beside(rows, x=x, order=measures).properties(
        title="The same two layers of 48 neurons on more and more images"
    )


def intervals() -> Chart:
    """Twenty draws of 200 images, each with its interval; the rule is the mean over the draws."""
    order = ["cca, 16 positions", "cca, averaged maps", "svcca, averaged maps", "cka, averaged maps"]
    rows = [row | {"panel": f"{row['measure']}, 16 positions"} for row in _draws(["cca"], Sampling())]
    rows += [row | {"panel": f"{row['measure']}, averaged maps"} for row in _draws(["cca", "svcca", "cka"], AVERAGED)]
    whole = alt.Chart(_data(rows))
    base = whole.encode(
        x=alt.X("draw:Q", title="draw of 200 images", scale=alt.Scale(domain=[0, 21])),
        color=alt.Color("kept:N", title="directions kept", scale=alt.Scale(range=[*COLOURS[1:], BLUE])),
    )
    layers = alt.layer(
        whole.mark_rule(strokeDash=[4, 3], color="grey").encode(y="mean(value):Q"),
        base.mark_rule().encode(y=alt.Y("low:Q", title="value", scale=alt.Scale(zero=False)), y2="high:Q"),
        base.mark_point(filled=True, size=28).encode(y="value:Q"),
    )
    return _panels(layers, order, width=250, columns=2).properties(
        title="The same comparison on twenty draws of images. Dashes: mean of the draws"
    )


# --- parts of pictures ---


def _changed_layers() -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    generator = np.random.default_rng(0)
    rotation, own = (np.linalg.qr(generator.standard_normal((64, 64)))[0] for _ in range(2))
    principal = generator.standard_normal((5000, 64)) * np.geomspace(1, 0.03, 64)
    layer = principal @ own
    faint = principal.copy()
    faint[:, 32:] = generator.standard_normal((5000, 32)) * np.geomspace(1, 0.03, 64)[32:]
    one_neuron, one_direction = np.ones(64), np.ones(64)
    one_neuron[0], one_direction[20] = 30, 30
    share = principal[:, 32:].var(0).sum() / principal.var(0).sum()
    outlier = [np.vstack([10_000 * np.eye(64)[:1], each]) for each in (layer, generator.permutation(layer))]
    return {
        "shifted and scaled by 10": (layer, 10 * layer + 3),
        "rotated": (layer, layer @ rotation),
        "one neuron times 30": (layer, layer * one_neuron),
        "one direction stretched by 30": (layer, (principal * one_direction) @ own),
        f"faint half ({share:.0%} of variance) made noise": (layer, faint @ own),
        "samples in another order": (layer, generator.permutation(layer)),
        "another order, one huge sample in both": (outlier[0], outlier[1]),
    }


def _draws(measures: list[str], sampling: Sampling) -> Iterator[dict[str, Any]]:
    a, b = (network(seed, SHALLOW) for seed in (1, 2))
    options = Options(sampling=sampling, permute=False)
    for draw in range(1, 21):
        for found in compare(a, b, blobs(200, seed=99 + draw), layers=["5"], measures=measures, options=options):
            low, high = found.interval or (None, None)
            kept = f"{found.kept_a} and {found.kept_b}" if found.measure == "svcca" else "all"
            yield {"measure": found.measure, "draw": draw, "value": found.value, "low": low, "high": high, "kept": kept}


def _beside_nulls(result: PairResult) -> list[dict[str, Any]]:
    low, high = result.interval or (None, None)
    numbers = {"value": result.value, "permutation null": result.null_permutation, "i.i.d. null": result.null_iid}
    rows = [{"panel": result.measure, "number": name, "value": number} for name, number in numbers.items()]
    rows[0] |= {"low": low, "high": high}
    return rows


def _beside(rows: list[dict[str, Any]], *, x: alt.X, order: list[str]) -> Chart:
    base = alt.Chart(_data(rows)).encode(x=x)
    colour = alt.Color("number:N", title=None, sort=None, scale=NULLS)
    lines = base.mark_line(point=True).encode(
        y=alt.Y("value:Q", title="similarity"),
        color=colour,
        strokeDash=alt.StrokeDash("number:N", sort=None, legend=None),
    )
    spread = (
        base.transform_filter("isValid(datum.low)").mark_rule(color=BLUE, strokeWidth=2).encode(y="low:Q", y2="high:Q")
    )
    return _panels(alt.layer(spread, lines), order, width=150, columns=4)


def _panels(layers: Chart, order: list[str], *, width: int, columns: int) -> Chart:
    facet = alt.Facet("panel:N", title=None, sort=order)
    panels: Chart = layers.properties(width=width, height=150).facet(facet=facet, columns=columns)
    own: Chart = panels.resolve_scale(y="independent" if columns == 2 else "shared")
    return own


def _data(rows: list[dict[str, Any]]) -> alt.InlineData:
    return alt.InlineData(values=rows)


def _short(svg: str) -> str:
    """Round numbers to hundredths of a pixel: half the size, the same picture."""
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)


PICTURES: dict[str, Callable[[], Chart]] = {
    "noise": noise,
    "changes": changes,
    "nulls": nulls,
    "sizes": sizes,
    "intervals": intervals,
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name, picture in PICTURES.items():
        drawn: str = vl_convert.vegalite_to_svg(picture().configure(background="white", aria=False).to_dict())
        (FOLDER / f"{name}.svg").write_text(_short(drawn))
