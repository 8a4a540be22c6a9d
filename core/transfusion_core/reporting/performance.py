"""Tables 1 and 2: final quality of each arm, and what each init changes against random."""

from collections.abc import Iterator

from transfusion_core.reporting.charts.base import headline as headline_of
from transfusion_core.reporting.charts.performance import performance as performance_chart
from transfusion_core.reporting.published import table_1
from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN, UNIT, summarise, tost
from transfusion_core.reporting.study import Arm, Cell, Study, Tuning
from transfusion_core.specs.report import ReportSection, Row
from transfusion_core.specs.training import LabelMetrics
from transfusion_core.specs.tuning import best

METRICS = ("auroc", "auprc")


def performance(study: Study) -> ReportSection:
    """A row per arm x label x metric, then a row per pair of inits: the paired difference over seeds."""
    label = headline(study)
    table = [row for arm in study.arms for row in _arm_rows(study, arm, label)]
    table += [row for arm in study.arms if arm.init != "random" for row in _delta_rows(study, arm)]
    table += [row for tuning in study.tunings for row in _tuning_rows(tuning)]
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text=_text(label) + (_TUNED if study.tunings else ""),
        charts={"performance": performance_chart(table)},
        table=table,
    )


def headline(study: Study) -> str:
    """The label that stands for a whole run of this study."""
    return headline_of([row.label for cell in study.cells for row in _labels(cell)])


def _text(label: str) -> str:
    return (
        f"Quality on the test split of the final weights: mean over seeds, standard deviation, 95% t interval. "
        f"The headline label is {label!r}. A row with a pair is the difference of the first init minus the second over "
        f"the same seeds; its p value is of the equivalence test (TOST) at a margin of {EQUIVALENCE_MARGIN} AUROC: "
        "only a small p supports the word 'comparable'. Published values are of the paper's own retinal images."
    )


_TUNED = (
    " Rows with a learning rate are of the validation split: it was chosen there for each model and init, by one seed "
    "on the largest train size; the highest AUROC was taken, of equals the lowest loss."
)


def _tuning_rows(tuning: Tuning) -> Iterator[Row]:
    chosen = best(tuning.trials)
    for trial in tuning.trials:
        for metric, value in (("val_auroc", trial.auroc), ("val_loss", trial.loss)):
            yield Row(
                **tuning.arm.words,
                seed=tuning.seed,
                lr=trial.lr,
                chosen=trial == chosen,
                metric=metric,
                value=value,
                reason=None if value is not None else trial.reason or "one class only",
            )


def _arm_rows(study: Study, arm: Arm, label: str) -> Iterator[Row]:
    cells = study.seeds_of(arm)
    names = dict.fromkeys(row.label for cell in cells for row in _labels(cell))
    for name in names:
        for metric in METRICS:
            values, reasons = _values(cells, name, metric)
            found = summarise(values, bounds=UNIT)
            known = table_1(arm.model, arm.init) if (name, metric, study.task) == (label, "auroc", "ordinal") else None
            yield Row(
                **arm.words,
                label=name,
                metric=metric,
                value=found.mean if found else None,
                sd=found.sd if found else None,
                n=len(values),
                interval=found.interval if found else None,
                published=known.value if known else None,
                mark=known.mark if known else None,
                reason=None if found else reasons[0],
            )
    if not cells:
        yield Row(**arm.words, label=label, metric="auroc", value=None, n=0, reason="no run of this arm has ended well")


def _labels(cell: Cell) -> list[LabelMetrics]:
    return cell.result.metrics["test"].labels if cell.result else []


def _values(cells: list[Cell], label: str, metric: str) -> tuple[list[float], list[str]]:
    """The seeds' values that exist, and the reasons of those that do not."""
    rows = [row for cell in cells for row in _labels(cell) if row.label == label]
    values = [value for row in rows if (value := getattr(row, metric)) is not None]
    return values, [row.reason or "not measured" for row in rows if getattr(row, metric) is None]


def _delta_rows(study: Study, arm: Arm) -> Iterator[Row]:
    other = Arm(model=arm.model, init="random", source=None, train_size=arm.train_size)
    randoms = {cell.seed: cell for cell in study.seeds_of(other)}
    paired = [(cell, randoms[cell.seed]) for cell in study.seeds_of(arm) if cell.seed in randoms]
    names = dict.fromkeys(row.label for cell, _ in paired for row in _labels(cell))
    for name in names:
        for metric in METRICS:
            deltas = [
                ours[0] - theirs[0]
                for cell, random in paired
                if (ours := _values([cell], name, metric)[0]) and (theirs := _values([random], name, metric)[0])
            ]
            found = summarise(deltas)
            yield Row(
                **arm.words,
                pair=f"{arm.init}-random",
                label=name,
                metric=metric,
                value=found.mean if found else None,
                sd=found.sd if found else None,
                n=len(deltas),
                interval=found.interval if found else None,
                p_value=tost(deltas) if metric == "auroc" else None,
                reason=None if found else "no seed has a value in both arms",
            )
