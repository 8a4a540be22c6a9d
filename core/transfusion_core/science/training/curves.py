"""The curves of a training: the train loss between evaluations, and every evaluated point."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from transfusion_core.errors import Diverged
from transfusion_core.science.training.hooks import Point
from transfusion_core.specs.training import Series


class TrainLoss:
    """Losses since the last evaluation. They stay on the device until somebody looks: each look waits for it."""

    def __init__(self) -> None:
        self._unseen: list[tuple[int, Tensor]] = []
        self._sum, self._count = 0.0, 0

    def add(self, step: int, loss: Tensor) -> None:
        """The scalar loss of the `step`-th update, counted from 1."""
        self._unseen.append((step, loss.detach()))

    def look(self) -> None:
        """Read the losses added since the last look. Diverged at the first that is NaN or infinite."""
        if not self._unseen:
            return
        values = torch.stack([loss for _, loss in self._unseen]).tolist()
        for (step, _), value in zip(self._unseen, values, strict=True):
            if not math.isfinite(value):
                raise Diverged(f"expected a finite training loss, got {value} in step {step}")
        self._sum, self._count = self._sum + math.fsum(values), self._count + len(values)
        self._unseen.clear()

    def take_mean(self) -> float | None:
        """The mean of the losses looked at since the last call, None where there were none."""
        mean = self._sum / self._count if self._count else None
        self._sum, self._count = 0.0, 0
        return mean


class Curves:
    """Points by curve, in the order of the steps."""

    def __init__(self) -> None:
        self._series: dict[tuple[str, str], Series] = {}

    def add(self, step: int, points: Sequence[Point]) -> None:
        """Append one evaluation's points to their curves."""
        for name, split, value in points:
            empty = Series(name=name, split=split, steps=[], values=[])
            series = self._series.setdefault((name, split), empty)
            series.steps.append(step)
            series.values.append(value)

    def series(self) -> list[Series]:
        """Every curve, the first seen first."""
        return list(self._series.values())
