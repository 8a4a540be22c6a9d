"""What a validation curve says of a training: which evaluation was best, and how long there was no better one.

Pure functions of the curve, so that a continued training judges as one that never stopped. A value that does not exist
is not better than any.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.training import EarlyStopping, Metrics, TrainingSpec

Curve = Mapping[int, float | None]
"""Values by step, rising."""


@dataclass(frozen=True, eq=False)
class Best:
    """The best evaluation so far: its step, the weights (on the CPU) and what it found."""

    step: int
    weights: dict[str, Tensor]
    metrics: dict[str, Metrics]


def best_step(curve: Curve, stopping: EarlyStopping) -> int | None:
    """The first step that has the best value; None where there is no value."""
    sign = -1 if stopping.metric == "loss" else 1
    values = {step: sign * value for step, value in curve.items() if value is not None}
    return max(values, key=values.__getitem__, default=None)


def has_stalled(curve: Curve, stopping: EarlyStopping) -> bool:
    """Whether so many evaluations in a row were not better than the best that the training is to end."""
    best = best_step(curve, stopping)
    return sum(best is None or step > best for step in curve) >= stopping.patience


def plateaus(losses: Iterable[float | None], patience: int) -> int:
    """How often `patience` evaluations in a row brought no lower loss; after each time the counting starts anew."""
    best, since, found = math.inf, 0, 0
    for loss in losses:
        better = loss is not None and loss < best
        best, since = (loss, 0) if better and loss is not None else (best, since + 1)
        if since == patience:
            since, found = 0, found + 1
    return found


def check_validation(data: TrainingData, training: TrainingSpec, *, task: Task) -> None:
    """DataError where the validation split has no such value as steers the training, whatever the scores."""
    labels = data.labels[data.val.to(data.labels.device)]
    possible = evaluate_scores(task, torch.zeros(len(labels), len(data.classes)), labels, classes=data.classes)
    for metric in training.steered_by:
        if getattr(possible, metric) is None:
            why = possible.reason or "no labels"
            raise DataError(f"expected a validation split that has {metric}, which steers the training, got {why}")
