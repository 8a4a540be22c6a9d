"""Steps to a threshold that some runs never reached: such a run is censored where it ended, not left out."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from transfusion_core.reporting.statistics.summary import t_quantile


@dataclass(frozen=True)
class Waited:
    """One run: the step at which it reached the threshold, or at which it ended without."""

    step: int
    reached: bool


@dataclass(frozen=True)
class RestrictedMean:
    """Mean steps to the threshold, where what lies beyond the horizon counts as the horizon."""

    mean: float
    interval: list[float] | None
    """95%; None for one run, or where none reached it."""


def restricted_mean(runs: Sequence[Waited], *, horizon: int) -> RestrictedMean | None:
    """The area under the Kaplan-Meier curve up to `horizon`; None for no runs.

    Irwin 1949; variance by Greenwood's formula, times n / (n - 1), with Student's quantile: where all runs reached the
    threshold these are the mean and its t interval. A curve that ends in a censored run keeps its height.
    """
    if not runs:
        return None
    steps = np.array([min(run.step, horizon) for run in runs])
    reached = np.array([run.reached and run.step <= horizon for run in runs])
    times = np.unique(steps[reached])
    at_risk = np.array([(steps >= time).sum() for time in times])
    events = np.array([(reached & (steps == time)).sum() for time in times])
    heights = np.concatenate([[1.0], np.cumprod(1 - events / at_risk)])
    areas = heights * np.diff(np.concatenate([[0.0], times, [float(horizon)]]))
    mean, n = float(areas.sum()), len(runs)
    if n == 1 or not len(times):
        return RestrictedMean(mean, None)
    after = areas.sum() - np.cumsum(areas)[:-1]  # under the curve from each time on
    left = at_risk > events  # behind the last run there is no area
    terms = after[left] ** 2 * events[left] / (at_risk[left] * (at_risk[left] - events[left]))
    half = t_quantile(n - 1) * math.sqrt(terms.sum() * n / (n - 1))
    return RestrictedMean(mean, [max(0.0, mean - half), min(float(horizon), mean + half)])


def log_rank(first: Sequence[Waited], second: Sequence[Waited]) -> float | None:
    """Two-sided p that both kinds of runs reach the threshold alike (Mantel 1966); None where nothing can tell.

    That is: where a side is empty, no run reached it, or the runs overlap at no time.
    """
    steps = np.array([run.step for run in (*first, *second)])
    reached = np.array([run.reached for run in (*first, *second)], dtype=bool)
    is_first = np.arange(len(steps)) < len(first)
    times = np.unique(steps[reached])
    at_risk = np.array([(steps >= time).sum() for time in times])
    of_first = np.array([(steps[is_first] >= time).sum() for time in times])
    events = np.array([(reached & (steps == time)).sum() for time in times])
    shares, several = of_first / at_risk, at_risk > 1  # whoever is at risk alone has no variance
    terms = events * shares * (1 - shares) * (at_risk - events)
    variance = float(np.sum(terms[several] / (at_risk[several] - 1)))
    if variance == 0:
        return None
    excess = float(reached[is_first].sum() - np.sum(events * shares))
    return float(2 * ndtr(-abs(excess) / math.sqrt(variance)))
