"""The loss of each task, as a mean over the batch.

Labels of `multiclass` and `ordinal` are whole numbers (n,) from 0; those of `multilabel` are 0, 1 or NaN
(missing), (n, labels).
"""

import torch
from torch import Tensor
from torch.nn import functional

from transfusion_core.specs.dataset import Task


def loss(task: Task, logits: Tensor, labels: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Scalar loss of logits (n, classes), in their dtype: softmax cross-entropy, for multilabel masked BCE.

    `smoothing`: this share of a label's weight goes evenly to all answers (Szegedy et al. 2016, 1512.00567).
    """
    if task == "multilabel":
        return masked_bce(logits, labels * (1 - smoothing) + smoothing / 2 if smoothing else labels)
    return functional.cross_entropy(logits, labels.to(torch.int64), label_smoothing=smoothing)


def masked_bce(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy averaged over the labels that are present; 0 with zero gradients where none is."""
    present = ~labels.isnan()
    filled = labels.nan_to_num().to(logits.dtype)  # a NaN under the mask would still make the gradient NaN
    each = functional.binary_cross_entropy_with_logits(logits, filled, reduction="none")  # (n, labels)
    return torch.where(present, each, 0.0).sum() / present.sum().clamp(min=1)


def share(task: Task, part: Tensor, whole: Tensor) -> float:
    """The weight of the mean loss over some of a batch's labels in the mean loss over all of them."""
    if task != "multilabel":
        return len(part) / len(whole)
    return float((~part.isnan()).sum()) / max(1.0, float((~whole.isnan()).sum()))
