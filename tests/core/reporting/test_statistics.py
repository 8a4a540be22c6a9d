"""Statistics over seeds: what a handful of values supports, and what not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from transfusion_core.reporting.statistics import UNIT, summarise, tost


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


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_no_summary_is_ever_nan(values: list[float]) -> None:
    found = summarise(values)
    assert found is not None
    assert np.isfinite([found.mean, found.sd or 0.0, *(found.interval or [])]).all()
