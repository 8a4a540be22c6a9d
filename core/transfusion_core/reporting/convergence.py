"""Figure 5: test AUROC against step, and the steps that each arm takes to a threshold."""

from collections.abc import Iterator

from transfusion_core.reporting.charts.convergence import figure_5
from transfusion_core.reporting.correction import corrected
from transfusion_core.reporting.statistics import UNIT, area_under_curve, paired_t, seeds_needed, summarise
from transfusion_core.reporting.steps import SHARE_OF_FINAL, horizon, restricted_rows, speed_rows, steps_rows
from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.report import ReportSection, Row


def convergence(study: Study) -> ReportSection:
    """A row per arm with its steps to threshold, a row per seed, speed-ups, areas, then the curves."""
    others = [arm for arm in study.arms if arm.init != "random"]
    table = [row for arm in study.arms for row in steps_rows(study, arm)]
    table += [row for arm in study.arms for row in restricted_rows(study, arm)]
    table += [row for arm in others for row in speed_rows(study, arm)]
    table += [row for arm in study.arms for row in _area_rows(study, arm)]
    table += [row for arm in others for row in _area_deltas(study, arm)]
    table += [row for arm in study.arms for row in _curve_rows(study, arm)]
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text="Rows of metric steps_to_threshold hold the first evaluated step at which a run's test AUROC is at or "
        f"above 0.5 + {SHARE_OF_FINAL} (final random - 0.5), mean over seeds. An arm of which a seed never got there "
        "has no such number: 'not reached'. restricted_mean_steps counts those seeds too, as censored where they ended "
        "(Kaplan-Meier), up to the last step of the longest run. speed_up is random's steps over the arm's, the "
        "geometric mean over the same seeds; its p value is of the log-rank test over all runs of both, corrected by "
        "Holm within this table (p_adjusted). Where a seed of either never got there it has no number, but a bound as "
        "its reason. Its interval counts that steps are seen on the grid of evaluations only. "
        "area_under_curve is the mean test AUROC on the way; with a pair, the difference at the same seeds "
        "and its paired t test. Intervals are 95%, over seeds. Rows of metric auroc are the curves, mean over seeds.",
        charts={"figure-5": figure_5(table)},
        table=corrected(table),
    )


def _area(cell: Cell, end: int) -> float | None:
    curve = cell.curve("auroc", "test")
    return area_under_curve(curve.steps, curve.values, horizon=end) if curve else None


def _area_rows(study: Study, arm: Arm) -> Iterator[Row]:
    cells, end = study.seeds_of(arm), horizon(study, arm)
    areas = [area for cell in cells if (area := _area(cell, end)) is not None]
    found = summarise(areas, bounds=UNIT)
    if any(cell.curve("auroc", "test") for cell in cells):
        yield Row(
            **arm.words,
            metric="area_under_curve",
            value=found.mean if found else None,
            sd=found.sd if found else None,
            n=len(areas),
            interval=found.interval if found else None,
            reason=None if found else "no curve without gaps over several steps",
        )


def _area_deltas(study: Study, arm: Arm) -> Iterator[Row]:
    end = horizon(study, arm)
    areas = [(_area(cell, end), _area(random, end)) for cell, random in study.paired_with_random(arm)]
    deltas = [ours - theirs for ours, theirs in areas if ours is not None and theirs is not None]
    found = summarise(deltas)
    if found:
        yield Row(
            **arm.words,
            pair=f"{arm.init}-random",
            metric="area_under_curve",
            value=found.mean,
            sd=found.sd,
            n=len(deltas),
            interval=found.interval,
            p_value=paired_t(deltas),
            test="paired t" if len(deltas) > 1 else None,
            seeds_needed=seeds_needed(deltas),
        )


def _curve_rows(study: Study, arm: Arm) -> Iterator[Row]:
    curves = [curve for cell in study.seeds_of(arm) if (curve := cell.curve("auroc", "test"))]
    for step in sorted({step for curve in curves for step in curve.steps}):
        points = [dict(zip(curve.steps, curve.values, strict=True)).get(step) for curve in curves]
        values = [value for value in points if value is not None]
        found = summarise(values)
        yield Row(
            **arm.words,
            metric="auroc",
            step=step,
            value=found.mean if found else None,
            sd=found.sd if found else None,
            n=len(values),
            reason=None if found else "one class only",
        )
