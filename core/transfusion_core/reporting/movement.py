"""How far each layer moved in training: its weights, its first filters, and its representation."""

from collections.abc import Iterator

from transfusion_core.reporting.charts.movement import movement as movement_chart
from transfusion_core.reporting.representation import before_after
from transfusion_core.reporting.statistics import summarise
from transfusion_core.reporting.study import Arm, Pair, Study
from transfusion_core.specs.report import ReportSection, Row

WEIGHT_MEASURES = ("relative_l2", "cosine")


def movement(study: Study) -> ReportSection:
    """A row per arm x layer x measure: weights first, then activations."""
    table = [row for arm in study.arms for row in _weight_rows(study, arm)]
    table += list(before_after(study))
    missing = study.missing_pairs("movement")
    return ReportSection(
        complete=not missing,
        missing=missing,
        text="From initialisation to the final weights, mean over seeds. relative_l2 is |W - W0| / |W0| and cosine the "
        "angle between them, per weight tensor; filter_correlation is the mean correlation of each first-layer filter "
        "with itself; the other measures compare activations of the same layer before and after.",
        charts={"movement": movement_chart(table)},
        table=table,
    )


def _weight_rows(study: Study, arm: Arm) -> Iterator[Row]:
    pairs = [pair for pair in study.done("movement") if pair.arm == arm]
    layers = dict.fromkeys(moved.layer for pair in pairs if pair.result for moved in pair.result.weights)
    for measure in WEIGHT_MEASURES:
        for stage, layer in enumerate(layers, start=1):
            found = [m for pair in pairs if pair.result for m in pair.result.weights if m.layer == layer]
            values = [value for moved in found if (value := getattr(moved, measure)) is not None]
            reasons = [moved.reason for moved in found if moved.reason]
            yield _row(arm, layer, measure, stage, values, reasons[0] if reasons else "not measured")
    if layers:
        correlations = [mean for pair in pairs if (mean := _mean_filter(pair)) is not None]
        yield _row(arm, next(iter(layers)), "filter_correlation", 1, correlations, "the first layer has no filters")


def _mean_filter(pair: Pair) -> float | None:
    values = [value for value in pair.result.filters if value is not None] if pair.result else []
    return sum(values) / len(values) if values else None


def _row(arm: Arm, layer: str, measure: str, stage: int, values: list[float], reason: str) -> Row:
    found = summarise(values)
    return Row(
        **arm.words,
        layer=layer,
        measure=measure,
        stage=stage,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(values),
        interval=found.interval if found else None,
        reason=None if found else reason,
    )
