"""Steps to a threshold: of each arm, and how much faster than random it gets there."""

import math
from collections.abc import Iterator, Sequence

from transfusion_core.reporting.published import speed_up as published_speed_up
from transfusion_core.reporting.statistics import log_rank, restricted_mean, rounding_sd, speed_up, summarise
from transfusion_core.reporting.statistics.speed import Between, SpeedUp
from transfusion_core.reporting.statistics.survival import Waited
from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.report import Row

SHARE_OF_FINAL = 0.9
"""The threshold lies this share of the way from chance (0.5) to what random reaches at the end."""
NOT_REACHED = "not reached"


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


def horizon(study: Study, arm: Arm) -> int:
    """The last step of the longest run of this model and train size: what all its arms are compared up to."""
    alike = (arm.model, arm.train_size)
    cells = [cell for cell in study.cells if (cell.arm.model, cell.arm.train_size) == alike]
    return max((_last(cell) for cell in cells), default=0)


def _last(cell: Cell) -> int:
    curve = cell.curve("auroc", "test")
    return curve.steps[-1] if curve and curve.steps else 0


def steps_rows(study: Study, arm: Arm) -> Iterator[Row]:
    """The arm's steps to its threshold, then those of each seed."""
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
        reason=None if found else NOT_REACHED,
    )
    for seed, step in steps:
        yield Row(**arm.words, **metric, seed=seed, value=step, reason=None if step is not None else NOT_REACHED)


def restricted_rows(study: Study, arm: Arm) -> Iterator[Row]:
    """The arm's mean steps up to the horizon, runs that never got there included; none without a threshold."""
    level = threshold(study, arm)
    if level is None:
        return
    runs = _waited(study.seeds_of(arm), level)
    found = restricted_mean(runs, horizon=horizon(study, arm)) if any(run.reached for run in runs) else None
    if runs:
        yield Row(
            **arm.words,
            metric="restricted_mean_steps",
            value=found.mean if found else None,
            n=len(runs),
            interval=found.interval if found else None,
            reason=None if found else NOT_REACHED,
        )


def _waited(cells: Sequence[Cell], level: float) -> list[Waited]:
    steps = [(cell, steps_to(cell, level)) for cell in cells]
    return [Waited(_last(cell), False) if step is None else Waited(step, True) for cell, step in steps]


def speed_rows(study: Study, arm: Arm) -> Iterator[Row]:
    """How many times fewer steps the arm takes than random, and the log-rank test that they take the same."""
    level, paired = threshold(study, arm), study.paired_with_random(arm)
    if level is None or not paired:
        return
    known = published_speed_up(arm.model, arm.init) if study.task == "ordinal" else None
    steps = [(_between(cell, level), _between(random, level)) for cell, random in paired]
    found = speed_up(steps, least_sd=rounding(paired, level))
    p_value = log_rank(_waited(study.seeds_of(arm), level), _waited(study.seeds_of(arm.random), level))
    yield Row(
        **arm.words,
        pair=f"{arm.init}-random",
        metric="speed_up",
        value=found.factor,
        n=len(paired),
        interval=found.interval,
        p_value=p_value,
        test=None if p_value is None else "log-rank",
        published=known.value if known else None,
        mark=known.mark if known else None,
        reason=None if found.factor is not None else _bound(found),
    )


def _between(cell: Cell, level: float) -> Between:
    """The step is known but where the threshold was not reached, or was passed before the first update."""
    curve, step = cell.curve("auroc", "test"), steps_to(cell, level)
    if step is None:
        return Between(_last(cell), math.inf)
    later = [later for later in curve.steps if later > 0] if curve else []
    return Between(step, step) if step > 0 else Between(0, later[0] if later else math.inf)


def rounding(paired: Sequence[tuple[Cell, Cell]], level: float) -> float:
    """The sd that the evaluation grid gives to the logarithm of a speed-up; each pair is of one seed."""
    return rounding_sd([(_since(cell, level), _since(random, level)) for cell, random in paired])


def _since(cell: Cell, level: float) -> Between:
    """The evaluation before the run reached the level, and the one at which it had."""
    curve, step = cell.curve("auroc", "test"), steps_to(cell, level)
    if curve is None or step is None:
        return Between(_last(cell), math.inf)
    return Between(max((earlier for earlier in curve.steps if earlier < step), default=0), step)


def _bound(found: SpeedUp) -> str:
    """What is known of a factor that has no number."""
    if found.at_least is not None:
        return f"at least {found.at_least:.3g}: a run of random did not reach it, or one of this arm began above it"
    if found.at_most is not None:
        return f"at most {found.at_most:.3g}: a run of this arm did not reach it"
    return "no bound: runs of both arms did not reach it"
