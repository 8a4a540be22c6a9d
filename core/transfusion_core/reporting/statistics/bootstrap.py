"""Intervals over patients: what the AUROC of the same networks would be on other patients like these.

Patients are drawn with replacement, each with all their images (Efron and Tibshirani 1993, percentile interval);
images where patients are not known. Only how often each is drawn matters, so that an AUROC is one pass over sorted
scores for many draws at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfusion_core.reporting.statistics.summary import CONFIDENCE

DRAWS = 1000
_BLOCK = 50
"""Draws worked on at a time: their counts of 10,000 images stay in a processor's cache."""
_FEWEST = 0.9
"""Share of the draws that must hold both classes; those that do not are left out."""

Floats = NDArray[np.float64]
Counts = NDArray[np.uint16]


@dataclass(frozen=True)
class Resampled:
    """A percentile interval, or why there is none."""

    interval: list[float] | None
    reason: str | None = None


def bootstrap_auc(
    scores: Sequence[Floats],
    positive: NDArray[np.bool_],
    clusters: NDArray[np.int64] | None = None,
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> Resampled:
    """95% interval of the AUROC of scores (n,), or of its mean over several networks on the same images.

    `clusters` (n,) says whose image each is. All networks see the same draws.
    """
    counts = draws_of(len(positive), clusters, draws=draws, seed=seed)
    return percentiles(np.mean([drawn_aucs(each, positive, counts) for each in scores], axis=0))


def draws_of(n: int, clusters: NDArray[np.int64] | None = None, *, draws: int = DRAWS, seed: int = 0) -> Counts:
    """How often each of n images is drawn, (n, draws): as often as its cluster is."""
    names, place = (np.arange(n), np.arange(n)) if clusters is None else np.unique(clusters, return_inverse=True)
    generator = np.random.default_rng(seed)
    counts = np.empty((len(names), draws), np.uint16)
    for draw in range(draws):
        counts[:, draw] = np.bincount(generator.integers(len(names), size=len(names)), minlength=len(names))
    of_images: Counts = counts[place]
    return of_images


def drawn_aucs(scores: Floats, positive: NDArray[np.bool_], counts: Counts) -> Floats:
    """AUROC of finite scores (n,) in every draw of `counts` (n, draws); NaN where a draw has one class only."""
    order = np.argsort(scores, kind="stable")
    ranked, truth = scores[order], positive[order]
    negatives, positives = order[~truth], order[truth]
    below = np.searchsorted(ranked[~truth], ranked[truth], side="left")
    through = np.searchsorted(ranked[~truth], ranked[truth], side="right")
    areas = np.empty(counts.shape[1])
    for start in range(0, counts.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        areas[block] = _areas(counts[positives, block], counts[negatives, block], below, through)
    return areas


def _areas(positives: Counts, negatives: Counts, below: NDArray[np.int64], through: NDArray[np.int64]) -> Floats:
    """From how often positives and negatives are drawn, in the order of their scores, (p, draws) and (q, draws).

    `below`, `through`: how many negatives lie below each positive, and at or below it.
    """
    summed = np.zeros((len(negatives) + 1, negatives.shape[1]))
    np.cumsum(negatives, axis=0, out=summed[1:])
    won = np.einsum("pd,pd->d", positives, summed[below] + summed[through]) / 2
    pairs = positives.sum(axis=0, dtype=np.float64) * summed[-1]
    areas: Floats = np.divide(won, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0)
    return areas


def percentiles(values: Floats) -> Resampled:
    """The middle 95% of what the draws gave."""
    known = values[~np.isnan(values)]
    if len(known) < _FEWEST * len(values):
        return Resampled(None, f"{len(values) - len(known)} of {len(values)} draws hold one class only")
    low, high = np.quantile(known, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return Resampled([float(low), float(high)])
