"""Final quality on the test split: a row per arm, and rows of what an init changes against random."""

from collections.abc import Iterator, Sequence

from transfusion_core.reporting.charts.base import headline as headline_of
from transfusion_core.reporting.published import Published
from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN, UNIT, paired_t, seeds_needed, summarise, tost
from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.report import Row
from transfusion_core.specs.training import LabelMetrics

METRICS = ("auroc", "auprc")
DIFFERENCE = "auroc_difference"
"""Metric of the rows that ask whether two AUROCs differ; those of metric `auroc` ask whether they are equivalent."""


def headline(study: Study) -> str:
    """The label that stands for a whole run of this study."""
    return headline_of([row.label for cell in study.cells for row in labels_of(cell)])


def labels_of(cell: Cell) -> list[LabelMetrics]:
    """What the run's test metrics say of each label."""
    return cell.result.metrics["test"].labels if cell.result else []


def quality_row(cells: Sequence[Cell], arm: Arm, label: str, metric: str, known: Published | None) -> Row:
    """Mean, sd and t interval over the seeds of an arm."""
    values, reasons = values_of(cells, label, metric)
    found = summarise(values, bounds=UNIT)
    return Row(
        **arm.words,
        label=label,
        metric=metric,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(values),
        interval=found.interval if found else None,
        published=known.value if known else None,
        mark=known.mark if known else None,
        reason=None if found else (reasons or ["no run of this arm has ended well"])[0],
    )


def values_of(cells: Sequence[Cell], label: str, metric: str) -> tuple[list[float], list[str]]:
    """The seeds' values that exist, and the reasons of those that do not."""
    rows = [row for cell in cells for row in labels_of(cell) if row.label == label]
    values = [value for row in rows if (value := getattr(row, metric)) is not None]
    return values, [row.reason or "not measured" for row in rows if getattr(row, metric) is None]


def parameters_row(study: Study, arm: Arm) -> Row | None:
    """How many parameters the arm's networks train; None where none has ended well."""
    counts = [cell.result.parameters for cell in study.seeds_of(arm) if cell.result]
    return Row(**arm.words, metric="parameters", value=counts[0], n=len(counts)) if counts else None


def delta_rows(study: Study, arm: Arm, labels: Sequence[str] | None = None) -> Iterator[Row]:
    """The arm minus random at the same seeds, per label (all of them unless given) and metric."""
    paired = study.paired_with_random(arm)
    found = dict.fromkeys(row.label for cell, _ in paired for row in labels_of(cell))
    for label in [name for name in found if labels is None or name in labels]:
        for metric in METRICS:
            yield from _tested(arm, label, metric, _deltas(paired, label, metric))


def _deltas(paired: Sequence[tuple[Cell, Cell]], label: str, metric: str) -> list[float]:
    return [
        ours[0] - theirs[0]
        for cell, random in paired
        if (ours := values_of([cell], label, metric)[0]) and (theirs := values_of([random], label, metric)[0])
    ]


def _tested(arm: Arm, label: str, metric: str, deltas: list[float]) -> Iterator[Row]:
    """For AUROC a row with the equivalence test, then one with the t test; for AUPRC, which has no margin, the last."""
    found, tested = summarise(deltas), len(deltas) > 1
    row = Row(
        **arm.words,
        pair=f"{arm.init}-random",
        label=label,
        metric=metric,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(deltas),
        interval=found.interval if found else None,
        reason=_why_untested(len(deltas)),
    )
    equivalence = {
        "test": "tost" if tested else None,
        "p_value": tost(deltas),
        "seeds_needed": seeds_needed(deltas, margin=EQUIVALENCE_MARGIN),
    }
    difference = {
        "test": "paired t" if tested else None,
        "p_value": paired_t(deltas),
        "seeds_needed": seeds_needed(deltas),
    }
    if metric == "auroc":
        yield row.model_copy(update=equivalence)
        row = row.model_copy(update={"metric": DIFFERENCE})
    yield row.model_copy(update=difference)


def _why_untested(deltas: int) -> str | None:
    if deltas == 0:
        return "no seed has a value in both arms"
    return "one seed has no spread: neither an interval nor a test" if deltas == 1 else None
