"""AUROC and average precision of scores against a yes-or-no truth, exact under ties, in float64.

Both are undefined where the truth is one-sided: whoever calls looks at that first.
"""

import numpy as np
from numpy.typing import NDArray


def midranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each value's rank, from 1, where equal ones share the mean of theirs. Values (n,) finite.

    `scipy.stats.rankdata` tells the same, and takes a second of processor time to import.
    """
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[places]
    return ranks


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2: the Mann-Whitney statistic from mid-ranks.

    Hanley and McNeil 1982. Scores (n,) finite, `positive` (n,) with both values in it.
    """
    positives = int(positive.sum())
    pairs = positives * (positive.size - positives)
    rank_sum = float(midranks(scores)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / pairs


def auprc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Average precision: precision at each distinct score, weighted by the recall gained there; no interpolation.

    Davis and Goadrich 2006 say why the linear one is too optimistic. Same scores enter together.
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(ranked)), ranked.size - 1)
    found = np.cumsum(positive[order])[last_of_ties]  # true positives down to each distinct score
    precision = found / (last_of_ties + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / found[-1])
