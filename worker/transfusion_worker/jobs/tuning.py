"""The learning rate of a training that its tuning runs decide, and what such a run has done of it already."""

from collections.abc import Sequence

from transfusion_core.errors import DataError, Diverged
from transfusion_core.specs.job import TrainJob
from transfusion_core.specs.training import Series, TrainResult
from transfusion_core.specs.tuning import Choice, Trial, best
from transfusion_worker.context import CurvePoint, JobContext


def choose(context: JobContext, job: TrainJob) -> Choice:
    """The rate that did best on validation. Diverged where every rate did, DataError where none can be judged."""
    needs = [context.need(key) for key in job.tuned_by]
    results = {need.spec["training"]["lr"]: need.result or {} for need in needs}
    trials = [Trial.of(lr, result) for lr, result in results.items()]
    chosen = best(trials)
    if chosen is None:
        told = "; ".join(f"{trial.lr:g}: {trial.reason}" for trial in trials)
        kind = Diverged if all("diverged" in result for result in results.values()) else DataError
        raise kind(f"expected a learning rate of the grid to do well on validation, got {told}")
    context.log(f"learning rate {chosen.lr:g}, the best of {', '.join(f'{trial.lr:g}' for trial in trials)}")
    return Choice(lr=chosen.lr, trials=trials)


def done_before(context: JobContext, job: TrainJob, *, lr: float) -> TrainResult | None:
    """The result of the tuning run that was this very training at this rate; its curves are told again."""
    same = job.trial(lr).model_dump(mode="json")
    for need in map(context.need, job.tuned_by):
        if need.spec == same:
            context.log(f"takes over run {need.id}, which was the same training")
            result = TrainResult.model_validate(need.result)
            context.points(curve_points(result.series))
            return result
    return None


def curve_points(curves: Sequence[Series]) -> list[CurvePoint]:
    """The points of whole curves."""
    return [
        CurvePoint(step, series.name, series.split, value)
        for series in curves
        for step, value in zip(series.steps, series.values, strict=True)
    ]
