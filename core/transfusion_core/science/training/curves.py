"""The curves of a training: the train loss between evaluations, and every evaluated point."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from transfusion_core.science.training.hooks import Point
from transfusion_core.specs.dataset import Split
from transfusion_core.specs.training import Series


class LossNotFinite(ArithmeticError):
    """The loss of an update, counted from 1, is NaN or infinite."""

    def __init__(self, step: int, value: float) -> None:
        """Say which."""
        super().__init__(f"expected a finite training loss, got {value} in step {step}")
        self.step = step


class TrainLoss:
    """Losses since the last evaluation. They stay on the device until somebody looks: each look waits for it."""

    def __init__(self, seen: Sequence[float] = ()) -> None:
        """Go on after the losses already `seen`."""
        self._unseen: list[tuple[int, Tensor]] = []
        self.seen = list(seen)

    def add(self, step: int, loss: Tensor) -> None:
        """The scalar loss of the `step`-th update, counted from 1."""
        self._unseen.append((step, loss.detach()))

    def look(self) -> None:
        """Read the losses added since the last look. LossNotFinite at the first that is NaN or infinite."""
        if not self._unseen:
            return
        values = torch.stack([loss for _, loss in self._unseen]).tolist()
        for (step, _), value in zip(self._unseen, values, strict=True):
            if not math.isfinite(value):
                raise LossNotFinite(step, value)
        self.seen += values
        self._unseen.clear()

    def take_mean(self) -> float | None:
        """The mean of the losses looked at since the last call, None where there were none."""
        seen, self.seen = self.seen, []
        return math.fsum(seen) / len(seen) if seen else None


class Curves:
    """Points by curve, in the order of the steps."""

    def __init__(self, series: Sequence[Series] = ()) -> None:
        """Go on with the curves of `series`."""
        self._series = {(each.name, each.split): each.model_copy(deep=True) for each in series}

    def add(self, step: int, points: Sequence[Point]) -> None:
        """Append one evaluation's points to their curves."""
        for name, split, value in points:
            empty = Series(name=name, split=split, steps=[], values=[])
            series = self._series.setdefault((name, split), empty)
            series.steps.append(step)
            series.values.append(value)

    def after(self, step: int, name: str, split: Split) -> dict[int, float | None]:
        """The values of one curve after a step, by their steps."""
        series = self._series.get((name, split))
        points = zip(series.steps, series.values, strict=True) if series else ()
        return {at: value for at, value in points if at > step}

    def series(self) -> list[Series]:
        """Every curve so far, the first seen first."""
        return [each.model_copy(deep=True) for each in self._series.values()]
