"""How far each layer moved in training: its weights, its first filters, and its representation."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from transfusion_core.reporting.charts.movement import OF_WEIGHTS, figure_3, filters, through_training
from transfusion_core.reporting.charts.movement import movement as movement_chart
from transfusion_core.reporting.means import mean_row
from transfusion_core.reporting.representation import before_after, layer_rows
from transfusion_core.reporting.study import Arm, Pair, Study
from transfusion_core.reporting.weights import tensor_rows
from transfusion_core.specs.comparison import Between, ComparisonResult, PairResult
from transfusion_core.specs.report import ReportSection, Row

FEWEST_POINTS = 3
"""Through two points there is always a line."""


def movement(study: Study) -> ReportSection:
    """A row per arm x layer x measure, weights first, then activations; then step by step, and Figure 3."""
    table = [row for arm in study.arms for row in _weight_rows(arm, _moved(study, arm))]
    table += list(before_after(study))
    table += [row for arm in study.arms for row in _step_rows(study, arm)]
    table += list(_start_rows(study))
    table += [row for arm in study.arms for row in _filter_rows(_moved(study, arm))]
    missing = [*study.missing_pairs("movement"), *study.missing_pairs("start")]
    charts = {"movement": movement_chart(table), "figure-3": figure_3(table)}
    if any(row.step is not None for row in table):
        charts["through-training"] = through_training(table)
    if any(row.picture for row in table):
        charts["filters"] = filters(table)
    return ReportSection(complete=not missing, missing=missing, text=_TEXT, charts=charts, table=table)


_TEXT = (
    "From initialisation to the final weights, mean over seeds. relative_l2 is |W - W0| / |W0| and cosine the "
    "angle between them, per weight tensor; filter_correlation is the mean correlation of each first-layer filter "
    "with itself; the other measures compare activations of the same layer before and after. Rows with a step are of "
    "the checkpoints on the way. Rows with a pair are Figure 3: how alike two networks are after training (value) "
    "against how alike they started (start), layer by layer; r2 says how much of the one the other explains, over the "
    "pairs of networks (n): near 1 where training did not move a layer."
)


def _moved(study: Study, arm: Arm) -> list[Pair]:
    return [pair for pair in study.done("movement") if pair.arm == arm]


def _weight_rows(arm: Arm, pairs: list[Pair], **words: Any) -> Iterator[Row]:
    for measure in OF_WEIGHTS:
        yield from tensor_rows(pairs, measure, {**arm.words, **words})
    layers = [moved.layer for pair in pairs if pair.result for moved in pair.result.weights]
    if layers and not words:
        correlations = [mean for pair in pairs if (mean := _mean_filter(pair)) is not None]
        place: dict[str, Any] = {"layer": layers[0], "measure": "filter_correlation", "stage": 1}
        yield mean_row(correlations, "the first layer has no filters", **arm.words, **place)


def _mean_filter(pair: Pair) -> float | None:
    values = [value for value in pair.result.filters if value is not None] if pair.result else []
    return sum(values) / len(values) if values else None


def _step_rows(study: Study, arm: Arm) -> Iterator[Row]:
    """The arm's movement at each checkpoint on the way and at the end; nothing where none were kept on the way."""
    at: dict[int, list[Pair]] = defaultdict(list)
    ends = {cell.seed: cell.result.steps for cell in study.seeds_of(arm) if cell.result}
    for pair in _moved(study, arm):
        assert pair.result is not None
        for between in pair.result.between:
            at[between.step].append(_at(pair, pair.result, between))
        if pair.result.between and (end := ends.get(pair.a["seed"])):
            at[end].append(pair)
    for step, pairs in sorted(at.items()):
        yield from _weight_rows(arm, pairs, step=step)
        for measure in study.spec.similarity.measures:
            yield from layer_rows(pairs, measure, {**arm.words, "step": step})


def _at(pair: Pair, result: ComparisonResult, between: Between) -> Pair:
    return replace(pair, result=result.model_copy(update={"results": between.results, "weights": between.weights}))


def _start_rows(study: Study) -> Iterator[Row]:
    """Figure 3: a row per pair of networks x layer x measure, then how well the start foretells the end."""
    ends = {_sides(pair): pair for pair in study.done("similarity")}
    points: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for pair in study.done("start"):
        end = ends.get(_sides(pair))
        for row in _points(pair, end) if end else ():
            points[row.model, row.train_size, row.layer, row.stage, row.measure].append(row)
    for (model, train_size, layer, stage, measure), rows in points.items():
        yield from rows
        value, reason = _r_squared(rows)
        words = {"model": model, "train_size": train_size, "layer": layer, "stage": stage, "measure": measure}
        yield Row(**words, metric="r2", value=value, n=len(rows), reason=reason)


def _sides(pair: Pair) -> tuple[Any, ...]:
    sides = [tuple(side[word] for word in ("init", "source", "seed")) for side in (pair.a, pair.b)]
    return pair.model, pair.train_size, *sides


def _points(start: Pair, end: Pair) -> Iterator[Row]:
    assert start.result is not None
    assert end.result is not None
    after = {_place(found): found.value for found in end.result.results}
    stages = {layer: stage for stage, layer in enumerate(start.result.layers_a, start=1)}
    for found in start.result.results:
        value = after.get(_place(found))
        if found.value is not None and value is not None:
            yield Row(
                **start.arm.words,
                seed=start.a["seed"],
                pair=start.pair,
                layer=found.layer_a,
                stage=stages[found.layer_a],
                measure=found.measure,
                start=found.value,
                value=value,
                null_iid=found.null_iid,
            )


def _place(found: PairResult) -> tuple[str, str, str]:
    return found.layer_a, found.layer_b, found.measure


def _r_squared(rows: Sequence[Row]) -> tuple[float | None, str | None]:
    """Squared correlation of starts and ends, and why there is none."""
    x, y = (np.array([getattr(row, name) for row in rows], dtype=np.float64) for name in ("start", "value"))
    if len(rows) < FEWEST_POINTS:
        return None, f"fewer than {FEWEST_POINTS} pairs of networks"
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, "all pairs are equally alike"
    return float(np.corrcoef(x, y)[0, 1] ** 2), None


def _filter_rows(pairs: list[Pair]) -> Iterator[Row]:
    """The filters of the arm's first seed, before and after."""
    for pair in sorted(pairs, key=lambda pair: pair.a["seed"])[:1]:
        assert pair.result is not None
        for when, picture in zip(("before", "after"), pair.result.filter_pictures, strict=False):
            reason = "a picture"
            words = {"measure": "filters", "label": when, "seed": pair.a["seed"], "picture": picture}
            yield Row(**pair.arm.words, **words, value=None, reason=reason)
