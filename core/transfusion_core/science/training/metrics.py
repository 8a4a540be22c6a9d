"""The quality of scores on one split. A number that does not exist is None with its reason, never NaN."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.science.training.losses import loss
from transfusion_core.science.training.ranking import auprc, auroc
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.training import LabelMetrics, Metrics

MACRO = "macro"
REFERABLE = 2  # the lowest grade that is referred to a specialist, where there are as many grades


def evaluate_scores(task: Task, logits: Tensor, labels: Tensor, *, classes: Sequence[str]) -> Metrics:
    """AUROC, AUPRC and loss of logits (n, classes) against labels as in `losses`, in float64.

    One row per class (one against the rest), threshold `>=t` or label, then `macro`: the plain mean of the rows that
    have a number, its `n` the images with a label and its `positives` summed over the rows. A macro that had to leave
    rows out names them in its `reason`. The headline is macro, for ordinal grades the row of the referable threshold.
    """
    logits, labels = logits.detach().to("cpu", torch.float64), labels.detach().cpu()
    told = scored(task, logits, labels, classes=classes)
    broken = _broken_scores(logits)
    scores, truth = told.scores.numpy(), told.truth.numpy()
    rows = [_row(name, scores[:, i], truth[:, i], broken) for i, name in enumerate(told.names)]
    macro = _macro(rows, truth)
    headline = rows[min(REFERABLE, len(rows)) - 1] if task == "ordinal" and rows else macro
    return Metrics(
        auroc=headline.auroc,
        auprc=headline.auprc,
        loss=None if broken or macro.n == 0 else loss(task, logits, labels).item(),
        reason=headline.reason,
        labels=[*rows, macro],
        **({} if broken or task != "multiclass" else _accuracies(logits, labels)),
    )


def _accuracies(logits: Tensor, labels: Tensor) -> dict[str, float | None]:
    return {f"top{k}": top_accuracy(logits, labels, k=k) for k in (1, 5)}


def top_accuracy(logits: Tensor, labels: Tensor, *, k: int) -> float | None:
    """Share of images whose own class is among the k highest of its logits (n, classes), labels (n,).

    A class that is no higher than k others does not count, so a network that cannot choose is never right. None where
    there are no images, or no more than k classes to be right by chance among.
    """
    if not len(logits) or logits.shape[1] <= k:
        return None
    own = logits.gather(1, labels[:, None])
    return ((logits >= own).sum(1) <= k).double().mean().item()


@dataclass(frozen=True, eq=False)
class Scored:
    """What is ranked against what, for each row of a Metrics but macro."""

    names: list[str]
    scores: Tensor
    """Log-odds, float64 (n, rows)."""
    truth: Tensor
    """What each score should say, float64 (n, rows): 1, 0, or NaN where nobody knows."""


def scored(task: Task, logits: Tensor, labels: Tensor, *, classes: Sequence[str]) -> Scored:
    """Logits (n, classes) and labels as in `losses` as the scores that AUROC and AUPRC are of, on the CPU."""
    _check_shapes(task, logits, labels, len(classes))
    scores = log_odds(task, logits.detach().to("cpu", torch.float64))
    return Scored(_names(task, classes), scores, _truth(task, labels.detach().cpu(), len(classes)))


def log_odds(task: Task, logits: Tensor) -> Tensor:
    """log(p / (1 - p)) of each row's probability, (n, rows), from float64 logits (n, classes).

    It ranks as the probability does, but keeps apart what rounds to the same 1.0: a sure network makes no false ties.
    """
    if task == "multilabel":
        return logits
    if task == "ordinal":
        above = [logits[:, t:].logsumexp(1) - logits[:, :t].logsumexp(1) for t in range(1, logits.shape[1])]
        return torch.stack(above, dim=1) if above else logits[:, :0]  # (n, grades - 1)
    return _one_against_rest(logits)


def _one_against_rest(logits: Tensor) -> Tensor:
    log_p = logits.log_softmax(1)
    odds = log_p - torch.log1p(-log_p.exp())  # exact where p <= 1/2: everywhere but at the top class
    top = logits.argmax(1, keepdim=True)
    rest = logits.scatter(1, top, -torch.inf).logsumexp(1, keepdim=True)
    return odds.scatter(1, top, logits.gather(1, top) - rest)


def _names(task: Task, classes: Sequence[str]) -> list[str]:
    return [f">={t}" for t in range(1, len(classes))] if task == "ordinal" else list(classes)


def _truth(task: Task, labels: Tensor, classes: int) -> Tensor:
    """What each row's score should say, (n, rows): 1, 0, or NaN where nobody knows."""
    if task == "multilabel":
        return labels.to(torch.float64)
    if task == "ordinal":
        return (labels[:, None] >= torch.arange(1, classes)).to(torch.float64)
    return (labels[:, None] == torch.arange(classes)).to(torch.float64)


def _row(name: str, scores: NDArray[np.float64], truth: NDArray[np.float64], broken: str | None) -> LabelMetrics:
    known = ~np.isnan(truth)
    positive = truth[known] == 1
    n, positives = positive.size, int(positive.sum())
    reason = broken or _one_sided(n, positives)
    if reason:
        return LabelMetrics(label=name, n=n, positives=positives, reason=reason)
    area, precision = auroc(scores[known], positive), auprc(scores[known], positive)
    return LabelMetrics(label=name, auroc=area, auprc=precision, n=n, positives=positives)


def _one_sided(n: int, positives: int) -> str | None:
    if n == 0:
        return "no labels"
    if positives == 0:
        return "never positive"
    return "always positive" if positives == n else None


def _macro(rows: Sequence[LabelMetrics], truth: NDArray[np.float64]) -> LabelMetrics:
    areas = [row.auroc for row in rows if row.auroc is not None]
    precisions = [row.auprc for row in rows if row.auprc is not None]
    return LabelMetrics(
        label=MACRO,
        auroc=float(np.mean(areas)) if areas else None,
        auprc=float(np.mean(precisions)) if precisions else None,
        n=int((~np.isnan(truth)).any(axis=1).sum()) if rows else len(truth),
        positives=sum(row.positives for row in rows),
        reason=_left_out(rows),
    )


def _left_out(rows: Sequence[LabelMetrics]) -> str | None:
    if not rows:
        return "one grade only"
    missing = [f"{row.label} ({row.reason})" for row in rows if row.reason]
    return f"without {', '.join(missing)}" if missing else None


def _broken_scores(logits: Tensor) -> str | None:
    """Why no row has a number. Finite weights can overflow, e.g. before batch norm has settled."""
    broken = int((~logits.isfinite()).any(dim=1).sum())
    return f"scores not finite on {broken} of {len(logits)} images" if broken else None


def _check_shapes(task: Task, logits: Tensor, labels: Tensor, classes: int) -> None:
    n = len(logits)
    if logits.shape != (n, classes):
        raise ValueError(f"expected logits of shape (n, {classes}), got {tuple(logits.shape)}")
    wanted = (n, classes) if task == "multilabel" else (n,)
    if labels.shape != wanted:
        raise ValueError(f"expected labels of shape {wanted} for a {task} task, got {tuple(labels.shape)}")
