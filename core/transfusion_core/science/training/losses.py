"""The loss of each task, as a mean over the batch.

Labels of `multiclass` and `ordinal` are whole numbers (n,) from 0; those of `multilabel` are 0, 1 or NaN
(missing), (n, labels).
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from transfusion_core.errors import DataError
from transfusion_core.specs.dataset import Task


def loss(
    task: Task, logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None
) -> Tensor:
    """Scalar loss of logits (n, classes), in their dtype: softmax cross-entropy, for multilabel masked BCE.

    `smoothing`: this share of a label's weight goes evenly to all answers (Szegedy et al. 2016, 1512.00567).
    `weights` (classes,): the mean over the batch is weighted by those of the images' classes; for multilabel they are
    factors of the positives' part.
    """
    if weights is not None:
        weights = weights.to(logits.dtype)
    if task == "multilabel":
        smooth = labels * (1 - smoothing) + smoothing / 2 if smoothing else labels
        return masked_bce(logits, smooth, positives=weights)
    return functional.cross_entropy(logits, labels.to(torch.int64), weight=weights, label_smoothing=smoothing)


def masked_bce(logits: Tensor, labels: Tensor, *, positives: Tensor | None = None) -> Tensor:
    """Binary cross-entropy averaged over the labels that are present; 0 with zero gradients where none is.

    `positives` (labels,): how much more the part of the positives counts.
    """
    present = ~labels.isnan()
    filled = labels.nan_to_num().to(logits.dtype)  # a NaN under the mask would still make the gradient NaN
    each = functional.binary_cross_entropy_with_logits(
        logits, filled, pos_weight=positives, reduction="none"
    )  # (n, labels)
    return torch.where(present, each, 0.0).sum() / present.sum().clamp(min=1)


def share(task: Task, part: Tensor, whole: Tensor, *, weights: Tensor | None = None) -> float:
    """The weight of the mean loss over some of a batch's labels in the mean loss over all of them."""
    if task == "multilabel":
        return float((~part.isnan()).sum()) / max(1.0, float((~whole.isnan()).sum()))
    if weights is None:
        return len(part) / len(whole)
    weights = weights.double()
    return float(weights[part.to(torch.int64)].sum() / weights[whole.to(torch.int64)].sum())


def class_weights(wanted: Literal["balanced"] | list[float], labels: Tensor, *, task: Task, classes: int) -> Tensor:
    """The weights (classes,) for `loss` that a recipe asks for, given the labels trained on. DataError for too few.

    `balanced`: images / (classes x images of the class), so that the mean over the images is 1; for multilabel
    negatives / positives, missing labels left out. What occurs never counts as if it did once.
    """
    if wanted != "balanced":
        if len(wanted) != classes:
            raise DataError(f"expected one of the 'class_weights' for each of the {classes} classes, got {len(wanted)}")
        return torch.tensor(wanted)
    if task == "multilabel":
        positives, negatives = ((labels == truth).sum(0).clamp(min=1) for truth in (1, 0))
        return (negatives.double() / positives).float()
    counts = torch.bincount(labels.to(torch.int64), minlength=classes).clamp(min=1)
    return (len(labels) / (classes * counts.double())).float()
