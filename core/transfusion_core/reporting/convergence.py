"""Figure 5: test AUROC against step, and the steps that each arm takes to a threshold."""

import math
from collections.abc import Iterator

from transfusion_core.reporting.charts.convergence import figure_5
from transfusion_core.reporting.statistics import summarise
from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.report import ReportSection, Row

SHARE_OF_FINAL = 0.9
"""The threshold lies this share of the way from chance (0.5) to what random reaches at the end."""


def convergence(study: Study) -> ReportSection:
    """A row per arm with its steps to threshold, a row per seed, then the curves."""
    table = [row for arm in study.arms for row in _steps_rows(study, arm)]
    table += [row for arm in study.arms for row in _curve_rows(study, arm)]
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text="Rows of metric steps_to_threshold hold the first evaluated step at which a run's test AUROC is at or "
        f"above 0.5 + {SHARE_OF_FINAL} (final random - 0.5), mean over seeds. An arm of which a seed never got there "
        "has no number: 'not reached'. Rows of metric auroc are the curves, mean over seeds.",
        charts={"figure-5": figure_5(table)},
        table=table,
    )


def threshold(study: Study, arm: Arm) -> float | None:
    """The AUROC to be reached by arms of this model and train size; None where random has no result above chance."""
    finals = [value for cell in study.seeds_of(arm.random) if (value := _final(cell)) is not None]
    found = summarise(finals)
    return 0.5 + SHARE_OF_FINAL * (found.mean - 0.5) if found and found.mean > 0.5 else None


def _final(cell: Cell) -> float | None:
    curve = cell.curve("auroc", "test")
    return curve.values[-1] if curve and curve.values else None


def steps_to(cell: Cell, level: float) -> int | None:
    """The first evaluated step at which the run's test AUROC is at or above the level."""
    curve = cell.curve("auroc", "test")
    points = zip(curve.steps, curve.values, strict=True) if curve else ()
    return next((step for step, value in points if value is not None and value >= level), None)


def _steps_rows(study: Study, arm: Arm) -> Iterator[Row]:
    level, cells = threshold(study, arm), study.seeds_of(arm)
    metric = {"metric": "steps_to_threshold"}
    if level is None:
        reason = "no threshold: random has no result above chance"
        yield Row(**arm.words, **metric, value=None, n=0, reason=reason)
        return
    if not cells:
        yield Row(**arm.words, **metric, value=None, n=0, reason="no run of this arm has ended well")
        return
    steps = [(cell.seed, steps_to(cell, level)) for cell in cells]
    reached = [float(step) for _, step in steps if step is not None]
    found = summarise(reached, bounds=(0, math.inf)) if len(reached) == len(cells) else None
    yield Row(
        **arm.words,
        **metric,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(reached),
        interval=found.interval if found else None,
        reason=None if found else "not reached",
    )
    for seed, step in steps:
        yield Row(**arm.words, **metric, seed=seed, value=step, reason=None if step is not None else "not reached")


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
