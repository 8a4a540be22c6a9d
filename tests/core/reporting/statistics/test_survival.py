"""Steps to a threshold with censored runs: a textbook, identities, simulated studies, and what has no number."""

import math

import numpy as np
import pytest
from scipy import stats

from transfusion_core.reporting.statistics import (
    area_under_curve,
    log_rank,
    restricted_mean,
    rounding_sd,
    speed_up,
    spread_at_least,
    summarise,
)
from transfusion_core.reporting.statistics.speed import Between
from transfusion_core.reporting.statistics.survival import Waited

TREATED = [6, 6, 6, 7, 10, 13, 16, 22, 23], [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
"""Weeks of remission of leukaemia, with and without 6-MP: relapsed and censored (Freireich et al. 1963; Kleinbaum and
Klein, Survival Analysis, chapter 2)."""


def _runs(reached: list[int], censored: list[int] | None = None) -> list[Waited]:
    return [Waited(step, True) for step in reached] + [Waited(step, False) for step in censored or []]


def test_the_log_rank_test_of_the_textbook() -> None:
    p_value = log_rank(_runs(*TREATED), _runs(PLACEBO))
    assert p_value is not None
    assert stats.chi2.isf(p_value, 1) == pytest.approx(16.79, abs=0.01)


def test_the_restricted_mean_of_the_textbook_example() -> None:
    found = restricted_mean(_runs(*TREATED), horizon=35)
    assert found is not None
    assert found.mean == pytest.approx(23.287, abs=0.001)  # R: print(survfit(...), rmean = 35)
    curve = stats.ecdf(stats.CensoredData(uncensored=TREATED[0], right=TREATED[1])).sf
    assert found.mean == pytest.approx(sum(curve.evaluate(np.arange(35))))


def test_without_censoring_it_is_the_mean_and_its_t_interval() -> None:
    found, expected = restricted_mean(_runs([200, 350, 300]), horizon=600), summarise([200.0, 350.0, 300.0])
    assert found is not None
    assert expected is not None
    assert found.mean == pytest.approx(expected.mean)
    assert found.interval == pytest.approx([max(0, expected.interval[0]), expected.interval[1]])  # type: ignore[index]


def test_runs_that_never_get_there_count_as_the_horizon_and_have_no_interval_where_all_are() -> None:
    assert restricted_mean([], horizon=600) is None
    (none, one) = (restricted_mean(_runs([], [600, 600]), horizon=600), restricted_mean(_runs([100]), horizon=600))
    assert none is not None
    assert one is not None
    assert (none.mean, none.interval, one.mean, one.interval) == (600, None, 100, None)
    some = restricted_mean(_runs([100, 300], [600]), horizon=600)
    assert some is not None
    assert some.mean == pytest.approx(1000 / 3)


def test_the_restricted_mean_covers_the_true_one() -> None:
    generator, covered = np.random.default_rng(0), 0
    truth = 400 * (1 - math.exp(-600 / 400))
    for _ in range(1000):
        times = generator.exponential(400, 30)
        runs = [Waited(math.ceil(time), True) if time <= 600 else Waited(600, False) for time in times]
        found = restricted_mean(runs, horizon=600)
        assert found is not None
        assert found.interval is not None
        covered += found.interval[0] <= truth + 0.5 <= found.interval[1]
    assert 930 <= covered <= 970


def test_the_log_rank_test_is_that_of_scipy_under_ties_and_censoring() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        sides = [
            (generator.integers(1, 12, generator.integers(1, 8)), generator.integers(1, 12, generator.integers(0, 6)))
            for _ in range(2)
        ]
        found = log_rank(*(_runs(reached.tolist(), censored.tolist()) for reached, censored in sides))
        with np.errstate(invalid="ignore", divide="ignore"):
            expected = stats.logrank(*(stats.CensoredData(uncensored=a, right=b) for a, b in sides)).pvalue
        assert found == (pytest.approx(expected, rel=1e-9) if math.isfinite(expected) else None)


def test_log_rank_has_no_p_where_nothing_can_tell() -> None:
    assert log_rank([], _runs([1])) is None
    assert log_rank(_runs([], [600]), _runs([], [600])) is None
    assert log_rank(_runs([5]), _runs([], [3])) is None


def _known(fast: int, slow: int) -> tuple[Between, Between]:
    return Between(fast, fast), Between(slow, slow)


def test_the_speed_up_is_a_geometric_mean_over_seeds() -> None:
    found = speed_up([_known(100, 400), _known(200, 200)])
    assert found.factor == pytest.approx(2)
    assert found.interval == pytest.approx([math.exp(end) for end in summarise([math.log(4), 0]).interval])  # type: ignore
    assert speed_up([_known(100, 300)]).interval is None
    assert speed_up([]).factor is None


def test_a_seed_that_never_got_there_leaves_a_bound() -> None:
    never, at_once = Between(600, math.inf), Between(0, 50)
    slow = speed_up([_known(100, 400), (Between(150, 150), never)])
    assert (slow.factor, slow.at_least, slow.at_most) == (None, pytest.approx(4), None)
    lost = speed_up([_known(100, 400), (never, Between(150, 150))])
    assert (lost.factor, lost.at_least, lost.at_most) == (None, None, pytest.approx(1))
    assert speed_up([(at_once, Between(400, 400))]).at_least == pytest.approx(8)
    both = speed_up([(never, never)])
    assert (both.factor, both.at_least, both.at_most) == (None, None, None)


def test_the_area_is_the_mean_height_up_to_the_horizon() -> None:
    assert area_under_curve([0, 100], [0.5, 0.9], horizon=100) == pytest.approx(0.7)
    assert area_under_curve([0, 100], [0.5, 0.9], horizon=200) == pytest.approx(0.8), "a curve keeps its last value"
    assert area_under_curve([0, 100], [0.5, None], horizon=100) is None
    assert area_under_curve([], [], horizon=100) is None
    assert area_under_curve([0], [0.5], horizon=0) is None


def test_steps_seen_on_a_grid_have_the_grids_spread_at_least() -> None:
    seen = (Between(50, 100), Between(350, 400))
    assert rounding_sd([seen]) == pytest.approx(((0.5**2 + 0.125**2) / 12) ** 0.5)
    assert rounding_sd([(Between(400, math.inf), Between(400, math.inf))]) == 0
    known = [(Between(100, 100), Between(400, 400))] * 3
    assert speed_up(known).interval == [pytest.approx(4)] * 2
    low, high = speed_up(known, least_sd=rounding_sd([seen])).interval
    assert low < 4 < high


def test_a_spread_is_widened_about_its_mean_and_never_narrowed() -> None:
    assert spread_at_least([1.0, 3.0], 0.1) == [1.0, 3.0]
    assert spread_at_least([2.0], 5.0) == [2.0]
    for values in ([2.0, 2.0, 2.0], [1.9, 2.0, 2.1]):
        found = summarise(spread_at_least(values, 1.0))
        assert (found.mean, found.sd) == (pytest.approx(2), pytest.approx(1))
