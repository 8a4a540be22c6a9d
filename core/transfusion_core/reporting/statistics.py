"""Means, spreads and tests over seeds. A number that n does not support is None, never NaN."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

CONFIDENCE = 0.95
UNIT = (0.0, 1.0)
"""Bounds of AUROC, AUPRC and every similarity."""
EQUIVALENCE_MARGIN = 0.01
"""Two AUROCs are called comparable if their difference is shown to be smaller than this (TOST)."""


@dataclass(frozen=True)
class Summary:
    """Mean, sample standard deviation (None for one value), count, and t interval (None for one value)."""

    mean: float
    sd: float | None
    n: int
    interval: list[float] | None


def summarise(values: Sequence[float], *, bounds: tuple[float, float] | None = None) -> Summary | None:
    """Mean, sd and 95% t interval of at least one value; None for none.

    `bounds` are what the quantity cannot leave: the interval of a handful of AUROCs is cut there.
    """
    if not values:
        return None
    numbers = np.asarray(values, dtype=np.float64)
    mean = float(numbers.mean())
    if len(numbers) == 1:
        return Summary(mean, None, 1, None)
    sd = float(numbers.std(ddof=1))
    half = float(stdtrit(len(numbers) - 1, 0.5 + CONFIDENCE / 2)) * sd / math.sqrt(len(numbers))
    low, high = bounds or (-math.inf, math.inf)
    return Summary(mean, sd, len(numbers), [max(low, mean - half), min(high, mean + half)])


def tost(differences: Sequence[float], margin: float = EQUIVALENCE_MARGIN) -> float | None:
    """p of two one-sided t tests that the mean difference lies within +-margin; None for fewer than two.

    Schuirmann 1987. Differences that do not vary at all decide it outright: 0 inside the margin, 1 outside.
    """
    if len(differences) < 2:
        return None
    numbers = np.asarray(differences, dtype=np.float64)
    mean, error = float(numbers.mean()), float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    below = stdtr(len(numbers) - 1, -(mean + margin) / error)
    above = stdtr(len(numbers) - 1, (mean - margin) / error)
    return float(max(below, above))
