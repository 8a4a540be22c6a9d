"""Intervals: gradients are derivatives, and intervals hold what other images would have given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from transfusion_core.science.similarity import MEASURES, Moments, Pair, gradients
from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.gradients import GRADIENTS
from transfusion_core.science.similarity.intervals import ShardSums, Spread, along, interval, student_t
from transfusion_core.science.similarity.sums import Product, Sums

VARIANCE = 0.9
COUPLES = [("x", "x"), ("x", "y"), ("y", "y")]


def sums_of(x, y):
    sums = Sums({"x": x.shape[1], "y": y.shape[1]}, COUPLES)
    sums.add({"x": torch.from_numpy(x), "y": torch.from_numpy(y)})
    return sums


def shards_of(x, y, count):
    """The whole as a pair, and each shard's share about the means of the whole."""
    moments = Moments(x.shape[1], y.shape[1])
    moments.update(x, y)
    means = {"x": moments.mean_x, "y": moments.mean_y}
    shares = []
    for rows in np.array_split(np.arange(len(x)), count):
        part = sums_of(x[rows], y[rows]).about(means)
        shares.append(ShardSums(part.n, *(part.products[couple] for couple in COUPLES)))
    return moments.pair, shares


def with_more_of(pair: Pair, share: ShardSums, weight: float) -> Pair:
    def more(one: Product, other: Product) -> Product:
        return Product(
            *(mine + weight * theirs for mine, theirs in zip(vars(one).values(), vars(other).values(), strict=True))
        )

    def with_more(side: Side, other: Product) -> Side:
        own = more(side.own, other)
        return replace(side, own=own, squares=own.xy.diagonal())

    return Pair(with_more(pair.x, share.x), with_more(pair.y, share.y), more(pair.between, share.between))


@pytest.fixture
def exact(monkeypatch):
    """Gradients as if n were without end, and nothing noise's."""
    monkeypatch.setattr(gradients, "_steadiness", lambda pair, correlations, *directions: torch.ones_like(correlations))
    monkeypatch.setattr(gradients, "_CLOSE", 1e-9)


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize(("p", "q"), [(7, 5), (5, 7)])
@pytest.mark.parametrize("measure", MEASURES)
def test_gradients_are_the_derivatives_of_their_measures(layers, measure, p, q):
    x, y = layers(400, p, q)
    pair, shares = shards_of(x * np.linspace(9, 1, p), y * np.linspace(8, 1, q), 5)
    gradient = GRADIENTS[measure](pair, VARIANCE)
    for share in shares:
        step = 1e-5
        up, down = (MEASURES[measure](with_more_of(pair, share, sign * step), VARIANCE).value for sign in (1, -1))
        assert along(gradient, share) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-7)


@pytest.mark.parametrize(("p", "q", "share"), [(8, 8, 0.4), (2, 8, 0.48)])
def test_singular_values_of_noise_move_less_than_their_derivative_says(generator, p, q, share):
    """To first order the sum of p of them has variance p."""
    sums = np.linalg.svd(generator.standard_normal((8000, p, q)), compute_uv=False).sum(1)
    assert sums.var() / p == pytest.approx(share, abs=0.04)


def test_correlations_far_above_the_noise_move_as_their_derivatives_say(generator):
    x = generator.standard_normal((2000, 12))
    y = x * np.r_[np.full(4, 3.0), np.zeros(8)] + generator.standard_normal((2000, 12))
    pair, _ = shards_of(x, y, 2)
    directions = (pair.x.standardised, pair.y.standardised)
    steady = gradients._steadiness(pair, pair.canonical.values, *directions)
    assert (steady[:4] > 0.99).all()
    assert ((steady[4:] > 0.6) & (steady[4:] < 0.8)).all()


@pytest.mark.parametrize(("images", "positions"), [(640, 1), (20, 4)])
@pytest.mark.parametrize("strength", [0.0, 1.0])
@pytest.mark.parametrize("measure", ["cca", "svcca", "pwcca"])
def test_intervals_are_as_wide_as_values_spread_where_most_correlations_are_noise(measure, strength, images, positions):
    """Positions of an image are half alike."""

    def noise(generator):
        own, common = (generator.standard_normal((images, each, 16)) for each in (positions, 1))
        return ((own + common) / np.sqrt(2)).reshape(-1, 16)

    values, reaches, count = [], [], min(16, images // 2)
    for number in range(150):
        generator = np.random.default_rng([5, number])
        x = noise(generator)
        y = x * np.r_[np.full(3, strength), np.zeros(13)] + noise(generator)
        pair, shares = shards_of(x, y, count)
        values.append(MEASURES[measure](pair, 1.0).value)
        low, high = interval(0.0, spread_of(pair, shares, [measure], 1.0).influences(measure), bounds=(-9, 9))
        reaches.append((high - low) / 2 / student_t(count - 1))
    assert 0.87 < np.mean(reaches) / np.std(values) < 1.25


@pytest.mark.parametrize("measure", ["procrustes", "cka", "regression"])
def test_gradients_pass_over_directions_that_are_not_there(layers, measure):
    x, y = layers(400, 6, 7)
    y[:, 1], y[:, 3] = 5.0, y[:, 2]
    pair, shares = shards_of(x, y, 5)
    gradient = GRADIENTS[measure](pair, VARIANCE)
    for share in shares:
        step = 1e-5
        up, down = (MEASURES[measure](with_more_of(pair, share, sign * step), VARIANCE).value for sign in (1, -1))
        assert along(gradient, share) == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-7)


def test_svccas_gradient_stands_on_one_basis_whoever_makes_all_of_it_meanwhile(generator, monkeypatch):
    """Few leading directions are made alone; another thread may make all of them, with other signs, at any moment."""
    signal = generator.standard_normal((400, 40)) * 0.1 ** (np.arange(40) // 2)
    x, y = (signal + 0.3 * signal.std(0) * generator.standard_normal((400, 40)) for _ in range(2))
    alone, _ = shards_of(x, y, 2)
    expected = GRADIENTS["svcca"](alone, VARIANCE)
    assert "all" not in vars(shards_of(x, y, 2)[0].x.eigen)
    found, before = shards_of(x, y, 2)[0], Side.leading

    def leading(side, variance):
        kept = before(side, variance)
        _ = side.eigen.all
        return kept

    monkeypatch.setattr(Side, "leading", leading)
    gradient = GRADIENTS["svcca"](found, VARIANCE)
    for name in ("xx", "xy", "yy"):
        torch.testing.assert_close(getattr(gradient, name), getattr(expected, name), rtol=1e-6, atol=1e-12)


def spread_of(pair, shares, measures, variance=VARIANCE):
    spread = Spread(pair, measures, variance=variance)
    for share in shares:
        spread.add(share)
    return spread


def test_influences_add_up_to_zero_and_an_interval_holds_its_value(layers):
    pair, shares = shards_of(*layers(400, 7, 5), 8)
    spread = spread_of(pair, shares, list(MEASURES))
    for measure in MEASURES:
        value, moved = MEASURES[measure](pair, VARIANCE).value, spread.influences(measure)
        assert float(moved.sum()) == pytest.approx(0, abs=1e-10)
        low, high = interval(value, moved, bounds=(-1, 2))
        assert low < value < high


def test_a_copy_has_an_interval_of_no_width(layers):
    x, _ = layers(400, 7, 5)
    pair, shares = shards_of(x, x, 8)
    for measure in ("cca", "cka", "cka_debiased", "regression"):
        low, high = interval(1.0, spread_of(pair, shares, [measure]).influences(measure), bounds=(0, 1))
        assert high - low < 1e-6


@pytest.mark.parametrize("freedom", [4, 7, 15, 40])
def test_students_quantile_is_that_of_the_tables(freedom):
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=0.005)


def test_svccas_interval_holds_the_values_at_cuts_that_other_images_would_have_led_to(generator):
    """The share of variance stands at 0.9 with 3 directions, give or take sampling: some images keep 2, some 3."""
    sizes = np.sqrt([0.5, 0.3, 0.1, 0.06, 0.04])
    signal = generator.standard_normal((600, 5)) * sizes
    other = signal * [1, 1, 0, 0, 0] + generator.standard_normal((600, 5)) * sizes * [0.2, 0.2, 1, 1, 1]
    pair, shares = shards_of(signal, other, 12)
    values = spread_of(pair, shares, ["svcca"], 0.9).other_values("svcca")
    assert len(values) > 1
    assert max(values) - min(values) > 0.05
    assert any(
        MEASURES["svcca"](pair, share).value == pytest.approx(values[0]) for share in np.linspace(0.7, 0.97, 100)
    )
    assert (
        len(spread_of(pair, shares, ["svcca"], 0.85).other_values("svcca")) == 1
    )  # far from any cut there is no other
