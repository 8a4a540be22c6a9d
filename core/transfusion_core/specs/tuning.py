"""Which learning rate of a grid is the best: by the validation split alone."""

from collections.abc import Sequence
from typing import Any, Self

from transfusion_core.specs.base import Record
from transfusion_core.specs.training import TrainResult


class Trial(Record):
    """What the final weights of a tuning run are worth on validation."""

    lr: float
    auroc: float | None = None
    loss: float | None = None
    reason: str | None = None
    """Why the rate cannot be chosen: it diverged, or there is nothing to judge it by."""

    @classmethod
    def of(cls, lr: float, result: dict[str, Any]) -> Self:
        """The trial that a tuning run's result is of: a TrainResult, or that it `diverged` and why."""
        if "diverged" in result:
            return cls(lr=lr, reason=result["diverged"])
        val = TrainResult.model_validate(result).metrics["val"]
        reason = (val.reason or "there is no image to judge by") if val.loss is None else None
        return cls(lr=lr, auroc=val.auroc, loss=val.loss, reason=reason)


class Choice(Record):
    """The rate that was chosen, and all that were tried."""

    lr: float
    trials: list[Trial]


def best(trials: Sequence[Trial]) -> Trial | None:
    """The trial of the highest AUROC, which is what reports tell; where there is none, or equals, of the lowest loss,
    then of the lowest rate. None where no rate can be chosen.
    """
    possible = [trial for trial in trials if trial.reason is None]
    return min(possible, key=_rank, default=None)


def _rank(trial: Trial) -> tuple[float, float, float]:
    assert trial.loss is not None, "what has no loss has a reason"
    return -(trial.auroc or 0.0), trial.loss, trial.lr
