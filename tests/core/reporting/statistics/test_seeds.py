"""Statistics over seeds: what a handful of values supports, and what not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transfusion_core.reporting.statistics import UNIT, holm, paired_t, seeds_needed, summarise, tost


def test_the_interval_is_that_of_the_t_distribution() -> None:
    found = summarise([0.81, 0.84, 0.80])
    assert found is not None
    expected = stats.t.interval(0.95, 2, loc=0.8166666666, scale=stats.sem([0.81, 0.84, 0.80]))
    assert found.interval == pytest.approx(list(expected))


def test_an_interval_stays_within_what_the_quantity_can_be() -> None:
    found = summarise([0.7, 0.98], bounds=UNIT)
    assert found is not None
    assert found.interval == [0.0, 1.0]


def test_one_value_has_no_spread_and_none_has_nothing() -> None:
    found = summarise([0.8])
    assert found is not None
    assert (found.sd, found.interval, found.n) == (None, None, 1)
    assert summarise([]) is None
    assert tost([0.1]) is None


def test_tost_is_the_larger_of_two_one_sided_t_tests() -> None:
    differences = [0.001, -0.002, 0.003, 0.0005]
    below = stats.ttest_1samp(differences, -0.01, alternative="greater").pvalue
    above = stats.ttest_1samp(differences, 0.01, alternative="less").pvalue
    assert tost(differences) == pytest.approx(max(below, above))


def test_differences_without_spread_decide_tost_outright() -> None:
    assert tost([0.0, 0.0]) == 0.0
    assert tost([0.5, 0.5]) == 1.0


def test_tost_keeps_its_level_at_the_margin() -> None:
    draws = np.random.default_rng(0).normal(0.01, 0.02, size=(2000, 5))
    rejected = np.mean([(tost(row.tolist()) or 0.0) < 0.05 for row in draws])
    assert rejected < 0.065


def test_paired_t_is_that_of_scipy() -> None:
    differences = [0.03, -0.01, 0.05, 0.02]
    assert paired_t(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert [paired_t(few) for few in ([], [0.1], [0.0, 0.0], [0.1, 0.1])] == [None, None, 1.0, 0.0]


def test_t_intervals_over_three_seeds_cover_what_they_say_and_paired_t_keeps_its_level() -> None:
    draws = np.random.default_rng(1).normal(0.85, 0.02, size=(4000, 3))
    found = [summarise(row.tolist()) for row in draws]
    covered = np.mean([one.interval[0] <= 0.85 <= one.interval[1] for one in found if one and one.interval])
    assert 0.94 < covered < 0.96
    assert 0.04 < np.mean([(paired_t((row - 0.85).tolist()) or 0) < 0.05 for row in draws]) < 0.06


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx([0.03, 0.06, None, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def _with(mean: float, sd: float) -> list[float]:
    """Two differences of this mean and sample standard deviation."""
    return [mean - sd / 2**0.5, mean + sd / 2**0.5]


@pytest.mark.parametrize(("effect", "pairs"), [(0.5, 34), (0.8, 15), (0.2, 199)])
def test_seeds_needed_are_those_of_power_tables_for_the_paired_t_test(effect: float, pairs: int) -> None:
    assert seeds_needed(_with(effect * 0.02, 0.02)) == pairs  # G*Power 3.1, two-sided, alpha 0.05, power 0.8


def test_with_the_seeds_that_equivalence_needs_tost_rejects_four_times_in_five() -> None:
    n = seeds_needed(_with(0.002, 0.012), margin=0.01)
    assert n is not None
    draws = np.random.default_rng(2).normal(0.002, 0.012, size=(4000, n))
    assert 0.78 < np.mean([(tost(row.tolist()) or 0) < 0.05 for row in draws]) < 0.84


def test_seeds_needed_has_no_number_where_no_number_would_do() -> None:
    assert seeds_needed([0.1]) is None
    assert seeds_needed(_with(0.0, 0.1)) is None
    assert seeds_needed(_with(0.001, 0.1)) is None, "more than the most seeds"
    assert seeds_needed(_with(0.02, 0.01), margin=0.01) is None, "outside the margin"
    assert [seeds_needed([0.1, 0.1]), seeds_needed([0.001, 0.001], margin=0.01), seeds_needed(_with(1.0, 0.001))] == [
        2
    ] * 3


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_no_summary_is_ever_nan(values: list[float]) -> None:
    found = summarise(values)
    assert found is not None
    assert np.isfinite([found.mean, found.sd or 0.0, *(found.interval or [])]).all()
