"""Tests of differences that are paired by seed: is there one (t), and is it too small to matter (TOST)?"""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr

EQUIVALENCE_MARGIN = 0.01
"""Two AUROCs are called comparable if their difference is shown to be smaller than this (TOST)."""


def paired_t(differences: Sequence[float]) -> float | None:
    """Two-sided p of Student's t test that the mean difference is 0; None for fewer than two.

    Its interval is that of `summarise`. Differences without any spread decide it outright: 1 if they are 0, else 0.
    """
    if len(differences) < 2:
        return None
    mean, error = _mean_and_error(differences)
    if error == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / error))


def tost(differences: Sequence[float], margin: float = EQUIVALENCE_MARGIN) -> float | None:
    """p of two one-sided t tests that the mean difference lies within +-margin; None for fewer than two.

    Schuirmann 1987. Differences that do not vary at all decide it outright: 0 inside the margin, 1 outside.
    """
    if len(differences) < 2:
        return None
    mean, error = _mean_and_error(differences)
    if error == 0:
        return 0.0 if abs(mean) < margin else 1.0
    below = stdtr(len(differences) - 1, -(mean + margin) / error)
    above = stdtr(len(differences) - 1, (mean - margin) / error)
    return float(max(below, above))


def _mean_and_error(differences: Sequence[float]) -> tuple[float, float]:
    numbers = np.asarray(differences, dtype=np.float64)
    return float(numbers.mean()), float(numbers.std(ddof=1)) / math.sqrt(len(numbers))
