"""Tables 1 and 2: final quality of each arm, and what each init changes against random."""

from collections.abc import Iterator

from transfusion_core.reporting.charts.performance import performance as performance_chart
from transfusion_core.reporting.correction import corrected
from transfusion_core.reporting.patients import resampled_rows, run_rows
from transfusion_core.reporting.published import Published, table_1, table_2
from transfusion_core.reporting.quality import METRICS, delta_rows, headline, labels_of, parameters_row, quality_row
from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN
from transfusion_core.reporting.study import Arm, SourceRun, Study, Tuning
from transfusion_core.specs.report import ReportSection, Row
from transfusion_core.specs.training import Metrics
from transfusion_core.specs.tuning import best


def performance(study: Study) -> ReportSection:
    """A row per arm x label x metric, rows per pair of inits, then intervals over patients, parameters and sources."""
    label = headline(study)
    table = [row for arm in study.arms for row in _arm_rows(study, arm, label)]
    table += [row for arm in study.arms if arm.init != "random" for row in delta_rows(study, arm)]
    table += resampled_rows(study)
    table += [row for arm in study.arms for row in run_rows(study, arm)]
    table += [row for arm in study.arms if (row := parameters_row(study, arm))]
    table += [row for run in study.sources for row in _source_rows(run)]
    table += [row for tuning in study.tunings for row in _tuning_rows(tuning)]
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text=_text(label) + (_TUNED if study.tunings else ""),
        charts={"performance": performance_chart(table)},
        table=corrected(table),
    )


def _text(label: str) -> str:
    return (
        "Quality on the test split of the final weights: mean over seeds, standard deviation, 95% t interval over "
        f"seeds. The headline label is {label!r}. A row with a pair is the difference of the first init minus the "
        "second over the same seeds. Of metric auroc its p value is of the equivalence test (TOST) at a margin of "
        f"{EQUIVALENCE_MARGIN} AUROC: only a small p supports the word 'comparable'; of metric auroc_difference it is "
        "of the paired t test that there is no difference. p_adjusted is p after Holm's correction for all tests of "
        "that name in the table, seeds_needed how many seeds would show it with a probability of 0.8, were mean and "
        "spread as seen. An interval over seeds says what other trainings would give on these images; auroc_resampled "
        "says what these networks would give on other patients (measure patients, or images where patients are not "
        "known): the mean over seeds with a 95% percentile interval of 1000 bootstrap draws; auroc_of_run is one run "
        "with DeLong's 95% interval over images. source_auroc is the source run on the dataset that it was trained "
        "on, source_top1 and source_top5 how often the right class was its first answer or among its first five. "
        "Published values are of the paper's own images."
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
    names = dict.fromkeys(row.label for cell in cells for row in labels_of(cell))
    for name in names:
        for metric in METRICS:
            known = _published(study.task, arm, name, label) if metric == "auroc" else None
            yield quality_row(cells, arm, name, metric, known)
    if not cells:
        yield quality_row(cells, arm, label, "auroc", None)


def _published(task: str, arm: Arm, name: str, label: str) -> Published | None:
    if task == "ordinal":
        return table_1(arm.model, arm.init) if name == label else None
    return table_2(arm.model, arm.init, name) if task == "multilabel" else None


def _source_rows(run: SourceRun) -> Iterator[Row]:
    """The source run's own quality on its own test split."""
    metrics = run.result.metrics["test"] if run.result else Metrics()
    ended = None if run.result else ": ".join(filter(None, (run.state, run.reason)))
    told = {
        "source_auroc": (metrics.auroc, metrics.reason),
        "source_top1": (metrics.top1, _no_accuracy(run, metrics, 1)),
        "source_top5": (metrics.top5, _no_accuracy(run, metrics, 5)),
    }
    for metric, (value, why) in told.items():
        reason = None if value is not None else ended or why or "not measured"
        yield Row(model=run.model, source=run.source, seed=run.seed, metric=metric, value=value, reason=reason)


def _no_accuracy(run: SourceRun, metrics: Metrics, k: int) -> str | None:
    """Why a source run's images have no top-k accuracy."""
    if run.task not in (None, "multiclass"):
        return f"the source is {run.task}: its images have no one class to be right about"
    if run.task and run.classes <= k:
        return f"the source has {run.classes} classes: any answer is among the {k} highest"
    return metrics.reason if metrics.loss is None else "not kept by this run"
