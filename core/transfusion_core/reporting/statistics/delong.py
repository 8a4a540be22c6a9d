"""The area under one ROC curve, its variance, and the difference of two on the same images.

DeLong, DeLong and Clarke-Pearson 1988, by mid-ranks as in Sun and Xu 2014.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from transfusion_core.reporting.statistics.summary import CONFIDENCE
from transfusion_core.science.training.ranking import midranks

_Z = float(ndtri(0.5 + CONFIDENCE / 2))
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Delong:
    """An AUROC; variance and interval are None where `reason` says why."""

    auroc: float | None
    variance: float | None = None
    interval: list[float] | None = None
    """95%, symmetric on the logit scale."""
    reason: str | None = None


@dataclass(frozen=True)
class PairedDelong:
    """AUROC of the first scores minus that of the second, on the same images."""

    delta: float | None
    variance: float | None = None
    interval: list[float] | None = None
    p_value: float | None = None
    """Two-sided, that both are equal."""
    reason: str | None = None


def delong(scores: Floats, positive: NDArray[np.bool_]) -> Delong:
    """AUROC of finite scores (n,) against a truth (n,), with its variance over images and its interval."""
    if one_sided := _one_sided(positive):
        return Delong(None, reason=one_sided)
    placed = _placements(scores, positive)
    auroc = float(placed.positives.mean())
    if few := _few(positive):
        return Delong(auroc, reason=few)
    variance = _variance(placed.positives, placed.negatives)
    if variance == 0:
        return Delong(auroc, reason="these images leave no variance to estimate")
    half = _Z * math.sqrt(variance) / (auroc * (1 - auroc))  # the logit's derivative is 1 / (a (1 - a))
    middle = math.log(auroc / (1 - auroc))
    return Delong(auroc, variance, [1 / (1 + math.exp(-(middle + side * half))) for side in (-1, 1)])


def paired_delong(first: Floats, second: Floats, positive: NDArray[np.bool_]) -> PairedDelong:
    """The difference of two AUROCs on the same images, and whether there is one."""
    if one_sided := _one_sided(positive):
        return PairedDelong(None, reason=one_sided)
    a, b = _placements(first, positive), _placements(second, positive)
    delta = float(a.positives.mean() - b.positives.mean())
    if few := _few(positive):
        return PairedDelong(delta, reason=few)
    variance = _variance(a.positives - b.positives, a.negatives - b.negatives)
    if variance == 0:
        return PairedDelong(delta, reason="these images leave no variance to estimate")
    error = math.sqrt(variance)
    interval = [max(-1.0, delta - _Z * error), min(1.0, delta + _Z * error)]
    return PairedDelong(delta, variance, interval, float(2 * ndtr(-abs(delta) / error)))


@dataclass(frozen=True)
class _Placements:
    """For each image, the share of the other class that it stands on the right side of; ties count half."""

    positives: Floats
    negatives: Floats


def _placements(scores: Floats, positive: NDArray[np.bool_]) -> _Placements:
    ranks, own = midranks(scores), np.empty(len(scores))
    for side in (positive, ~positive):
        own[side] = midranks(scores[side])
    below = ranks - own  # images of the other class below each
    count = int(positive.sum())
    return _Placements(below[positive] / (len(scores) - count), 1 - below[~positive] / count)


def _variance(positives: Floats, negatives: Floats) -> float:
    return float(positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives))


def _one_sided(positive: NDArray[np.bool_]) -> str | None:
    if not len(positive):
        return "no labels"
    if not positive.any():
        return "never positive"
    return "always positive" if positive.all() else None


def _few(positive: NDArray[np.bool_]) -> str | None:
    fewest = min(int(positive.sum()), int((~positive).sum()))
    return "an interval takes two positives and two negatives" if fewest < 2 else None
