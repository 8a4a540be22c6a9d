"""Mean, spread and t interval of a handful of values."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

CONFIDENCE = 0.95
UNIT = (0.0, 1.0)
"""Bounds of AUROC, AUPRC and every similarity."""


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
    half = t_quantile(len(numbers) - 1) * sd / math.sqrt(len(numbers))
    low, high = bounds or (-math.inf, math.inf)
    return Summary(mean, sd, len(numbers), [max(low, mean - half), min(high, mean + half)])


def spread_at_least(values: Sequence[float], least: float) -> list[float]:
    """Values of the same mean whose standard deviation is not below `least`: what they were rounded by still counts.

    Measured on a coarse grid, a handful of values is often one value; their spread is then the grid's, and not none.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2 or float(numbers.std(ddof=1)) >= least:
        return list(values)
    apart = numbers - numbers.mean()
    if not apart.any():
        apart = np.linspace(-1.0, 1.0, len(numbers))
    widened: list[float] = (numbers.mean() + apart * (least / apart.std(ddof=1))).tolist()
    return widened


def t_quantile(freedom: int) -> float:
    """How many standard errors a two-sided 95% t interval reaches to each side."""
    return float(stdtrit(freedom, 0.5 + CONFIDENCE / 2))
