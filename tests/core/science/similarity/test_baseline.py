"""The value of pure noise: against the recorded table, direct simulation, closed forms, and the clock."""

import time
from math import gamma

import numpy as np
import pytest

import similarity_reference as reference
from transfusion_core.science.similarity import (
    MEASURES,
    cca,
    iid_baseline,
    iid_cka,
    iid_regression,
    linear_cka,
    linear_regression,
    pwcca,
    sampling_warnings,
)

# science.md section 5. Its .221 at d = 64, n = 1000 was one draw: the mean of 60 is .2155, their spread .002.
TABLE = {
    (1000, 64): 0.2155, (2000, 64): 0.154, (5000, 64): 0.097, (10_000, 64): 0.068, (20_000, 64): 0.047,
    (1000, 512): 0.645, (2000, 512): 0.441, (5000, 512): 0.275, (10_000, 512): 0.193, (20_000, 512): 0.137,
    (5000, 2048): 0.569, (10_000, 2048): 0.392,
}  # fmt: skip


@pytest.mark.parametrize(("n", "d"), TABLE)
def test_the_baseline_gives_the_recorded_table(n, d):
    assert iid_baseline(n, d, d) == pytest.approx(TABLE[n, d], abs=0.005)


@pytest.mark.parametrize(
    ("n", "p", "q", "draws"),
    [
        (30, 3, 8, 1500),
        (30, 8, 3, 1500),
        (20, 12, 10, 1000),
        (200, 33, 33, 60),
        (120, 80, 60, 20),
        (10, 2, 2, 5000),
    ],
)
def test_the_baseline_is_the_mean_over_simulated_noise(n, p, q, draws):
    assert iid_baseline(n, p, q) == pytest.approx(reference.noise_baseline(n, p, q, draws=draws), abs=0.006)


def test_the_drawn_law_and_the_limit_law_meet_where_one_takes_over():
    for n in (100, 1000):
        below, above = iid_baseline(n, 32, 40), iid_baseline(n, 33, 40)
        assert above == pytest.approx(below, abs=0.006)


@pytest.mark.parametrize("q", [1, 4, 20])
def test_a_single_neuron_has_the_mean_of_a_beta_law(q):
    m = 40
    expected = gamma((q + 1) / 2) * gamma(m / 2) / (gamma(q / 2) * gamma((m + 1) / 2))
    assert iid_baseline(m + 1, 1, q) == pytest.approx(expected, abs=0.004)


def test_spans_that_must_meet_have_correlations_of_one():
    assert iid_baseline(10, 9, 3) == 1
    assert iid_baseline(10, 500, 700) == 1
    assert iid_baseline(11, 9, 9) > 0.9


def test_the_baseline_is_symmetric_repeatable_and_falls_with_n():
    first = iid_baseline(500, 20, 30)
    iid_baseline.cache_clear()
    assert iid_baseline(500, 30, 20) == first
    falling = [iid_baseline(n, 20, 30) for n in (60, 100, 500, 5000)]
    assert falling == sorted(falling, reverse=True)


def test_large_layers_take_milliseconds():
    iid_baseline.cache_clear()
    start = time.perf_counter()
    iid_baseline(10_000, 2048, 2048)
    iid_baseline(3000, 2048, 1500)
    assert time.perf_counter() - start < 0.5  # 2 ms on an idle machine


def test_nothing_to_correlate_is_an_error():
    for n, p, q in [(1, 2, 2), (10, 0, 2), (10, 2, 0)]:
        with pytest.raises(ValueError, match="n >= 2 and dimensions >= 1"):
            iid_baseline(n, p, q)
    for baseline in (lambda: iid_cka(1, 2, 2), lambda: iid_regression(1, 2)):
        with pytest.raises(ValueError, match="needs n >= 2"):
            baseline()


def test_noise_measures_as_much_as_its_baseline_says(generator, moments_of):
    n, p, q = 400, 40, 25
    noise = [moments_of(generator.standard_normal((n, p)), generator.standard_normal((n, q))) for _ in range(10)]
    for measure in (cca, pwcca):
        mean = np.mean([measure(moments).mean for moments in noise])
        assert mean == pytest.approx(iid_baseline(n, p, q), abs=0.02)
    assert np.mean([linear_cka(moments) for moments in noise]) == pytest.approx(iid_cka(n, p, q), rel=0.05)
    explained = np.mean([linear_regression(moments).x_from_y for moments in noise])
    assert explained == pytest.approx(iid_regression(n, q), rel=0.05)


def test_warnings_start_below_five_samples_per_neuron():
    assert sampling_warnings(100, 20, 10) == []
    (warning,) = sampling_warnings(99, 20, 10)
    assert "n = 99 is less than 5 max(p, q) = 100" in warning


def test_warnings_count_correlations_that_are_one_by_arithmetic():
    assert "at least 2 of 6" in sampling_warnings(13, 8, 6)[1]
    assert len(sampling_warnings(15, 8, 6)) == 1
    assert "at least 6 of 6" in sampling_warnings(3, 8, 6)[1]


def test_forced_correlations_are_those_of_the_directions_kept():
    assert len(sampling_warnings(30, 20, 20)) == 2
    (warning,) = sampling_warnings(30, 20, 20, kept=(4, 5))
    assert "n = 30 is less than 5 max(p, q) = 100" in warning


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_warns_below_five_samples_per_neuron_whatever_it_keeps(measure, generator, moments_of):
    def measured(n):
        few = generator.standard_normal((n, 3))
        x, y = (few @ generator.standard_normal((3, p)) + 1e-3 * generator.standard_normal((n, p)) for p in (40, 24))
        return MEASURES[measure](moments_of(x, y).pair, 0.99)

    (warning,) = [told for told in measured(199).warnings if "5 max" in told]
    assert "n = 199 is less than 5 max(p, q) = 200" in warning
    assert measured(200).warnings == []
