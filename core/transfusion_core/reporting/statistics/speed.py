"""How many times faster one run reaches a threshold than another of the same seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transfusion_core.reporting.statistics.summary import spread_at_least, summarise


@dataclass(frozen=True)
class Between:
    """A step that is known to lie between two: equal where it is known, up to infinity where it was not reached."""

    low: float
    high: float


@dataclass(frozen=True)
class SpeedUp:
    """The geometric mean of the factors, or a bound of it on one side at most."""

    factor: float | None
    interval: list[float] | None = None
    """95%, by t on the log scale."""
    at_least: float | None = None
    at_most: float | None = None


def speed_up(pairs: Sequence[tuple[Between, Between]], *, least_sd: float = 0.0) -> SpeedUp:
    """Steps of the second over steps of the first, for runs paired by seed.

    `least_sd`: of the factors' logarithms, below which their spread cannot be known (see `rounding_sd`).
    Where some steps are known to lie between two only, so is the factor: a bound, and no number.
    """
    if not pairs:
        return SpeedUp(None)
    lows = [_log(slow.low) - _log(fast.high) for fast, slow in pairs]
    highs = [_log(slow.high) - _log(fast.low) for fast, slow in pairs]
    if lows == highs:
        found = summarise(spread_at_least(lows, least_sd))
        assert found is not None
        interval = [math.exp(end) for end in found.interval] if found.interval else None
        return SpeedUp(math.exp(found.mean), interval)
    low, high = float(np.mean(lows)), float(np.mean(highs))
    return SpeedUp(None, at_least=math.exp(low) or None, at_most=math.exp(high) if high < math.inf else None)


def rounding_sd(pairs: Sequence[tuple[Between, Between]]) -> float:
    """How much the logarithm of a factor varies because steps are only looked at now and then.

    Each of `pairs` is where the first and the second run got there: after `low`, the evaluation before, and at `high`.
    A step is as likely anywhere between, so its sd is their distance over the square root of 12; as a share of `high`
    that is about the sd of its logarithm.
    """
    shares = [(each.high - each.low) / each.high for pair in pairs for each in pair if 0 < each.high < math.inf]
    return math.sqrt(2 * float(np.mean(np.square(shares))) / 12) if shares else 0.0


def _log(step: float) -> float:
    return math.log(step) if step > 0 else -math.inf
