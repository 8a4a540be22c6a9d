"""How many seeds would tell, if their differences went on as those seen."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial

import numpy as np
from scipy.special import nctdtr, stdtrit

ALPHA = 0.05
POWER = 0.8
MOST_SEEDS = 1000
_CERTAIN = 30.0
"""Noncentralities above this give more than `POWER` with two seeds already; scipy's series need not be tried there."""


def seeds_needed(differences: Sequence[float], *, margin: float | None = None, level: float = ALPHA) -> int | None:
    """The fewest seeds at which a true mean and spread as seen would be found with a probability of 0.8.

    Without a margin by the paired t test at `level`; with one by TOST, that the mean is within it. None where not
    even 1000 would do, where there are fewer than two differences, or where the mean seen is on the other side.
    """
    if len(differences) < 2:
        return None
    numbers = np.asarray(differences, dtype=np.float64)
    mean, sd = abs(float(numbers.mean())), float(numbers.std(ddof=1))
    if mean == 0 if margin is None else mean >= margin:
        return None
    if sd == 0:
        return 2
    found = partial(_t_power, mean / sd) if margin is None else partial(_tost_power, mean / sd, margin / sd)
    power = partial(found, level=level)
    counts = range(2, MOST_SEEDS + 1)
    place = bisect_left(counts, POWER, key=power)
    return counts[place] if place < len(counts) else None


def _t_power(effect: float, n: int, *, level: float) -> float:
    """That |t| is above its critical value, by the noncentral t distribution; `effect` is mean / sd."""
    critical = float(stdtrit(n - 1, 1 - level / 2))
    return _above(critical, n, effect) + 1 - _above(-critical, n, effect)


def _tost_power(effect: float, margin: float, n: int, *, level: float) -> float:
    """That both one-sided tests reject; what both fail together is counted twice (Phillips 1990), so it is too low."""
    critical = float(stdtrit(n - 1, 1 - level))
    return max(0.0, _above(critical, n, margin - effect) + _above(critical, n, margin + effect) - 1)


def _above(critical: float, n: int, effect: float) -> float:
    noncentrality = effect * math.sqrt(n)
    return 1.0 if noncentrality > _CERTAIN else 1 - float(nctdtr(n - 1, noncentrality, critical))
