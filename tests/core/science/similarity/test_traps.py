"""Traps that published code fell into: each is laid here, with the wrong value that falling in would give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import similarity_reference as reference
from transfusion_core.science.similarity import (
    MEASURES,
    Moments,
    TooFewSamples,
    cca,
    linear_cka,
    linear_regression,
    procrustes,
    pwcca,
    svcca,
)

BOUNDS = {"cka_debiased": (-1, 1), "procrustes": (0, 2)}


def every_value(moments):
    """Values and reasons of all measures; a refusal counts as a reason."""
    found = {}
    for name, measure in MEASURES.items():
        try:
            measured = measure(moments.pair, 0.99)
        except TooFewSamples as error:
            found[name] = (None, str(error))
        else:
            found[name] = (measured.value, measured.reason)
    return found


def assert_sound(moments):
    for name, (value, reason) in every_value(moments).items():
        assert (value is None) == (reason is not None), name
        low, high = BOUNDS.get(name, (0, 1))
        assert value is None or low <= value <= high, name


def moments_in(dtype, x, y, **options):
    moments = Moments(x.shape[1], y.shape[1], **options)
    moments.update(torch.as_tensor(np.asarray(x)).to(dtype), torch.as_tensor(np.asarray(y)).to(dtype))
    return moments


def test_the_mean_is_over_all_correlations_not_over_those_of_98_percent_of_their_mass(layers, moments_of):
    x, y = layers(400, 30, 30)
    values = reference.cca(x, y)
    kept = np.cumsum(values) <= 0.98 * values.sum()
    assert cca(moments_of(x, y)).mean == pytest.approx(values.mean(), abs=1e-10)
    assert abs(values[kept].mean() - values.mean()) > 0.005


def test_pwcca_does_not_change_when_a_constant_is_added(layers, moments_of):
    x, y = layers(400, 9, 6)
    assert pwcca(moments_of(x + 1000, y - 7)).mean == pytest.approx(pwcca(moments_of(x, y)).mean, abs=1e-9)


def test_pwcca_weights_come_from_unit_variates(layers, moments_of):
    """Stretching the other layer stretches unnormalised directions, and would move the weights."""
    x, y = layers(400, 9, 6)
    stretched = x * np.geomspace(1e-3, 1e3, 9)
    assert pwcca(moments_of(stretched, y)).mean == pytest.approx(reference.pwcca(x, y), abs=1e-8)


def test_pwcca_of_a_layer_with_itself_never_rounds_above_1(layers, moments_of):
    """A mean of ones weighted by anything is one; dividing the rounded sums gave 1 + 2e-16 for one in twelve."""
    for _ in range(50):
        x, _ = layers(100, 7, 7)
        assert pwcca(moments_of(x, x)).mean <= 1


@pytest.mark.parametrize(("p", "q"), [(5, 12), (12, 5)])
def test_either_side_may_be_the_wider(layers, moments_of, p, q):
    moments = moments_of(*layers(300, p, q))
    assert_sound(moments)
    assert len(cca(moments).values) == 5


def test_svcca_cuts_by_variance_not_by_singular_values(moments_of):
    generator = np.random.default_rng(0)
    decay = 0.8 ** np.arange(40)
    x, y = (generator.standard_normal((500, 40)) * decay for _ in range(2))
    result, sizes = svcca(moments_of(x, y)), np.linalg.svd(x - x.mean(0), compute_uv=False)
    by_size = 1 + int(np.searchsorted(np.cumsum(sizes) / sizes.sum(), 0.99))
    assert result.mean == pytest.approx(reference.svcca(x, y).mean(), abs=1e-8)
    assert result.kept.x < by_size


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), copies=st.integers(0, 6), dead=st.integers(0, 3), rank=st.integers(1, 20))
def test_dead_duplicated_and_dependent_neurons_neither_crash_nor_leave_the_bounds(seed, copies, dead, rank):
    """Seen elsewhere: "SVD did not converge" on dead or duplicated neurons, and correlations above 1."""
    generator = np.random.default_rng(seed)
    inner = generator.standard_normal((200, rank))
    x = inner @ generator.standard_normal((rank, 24))
    y = np.column_stack([inner[:, :1] + generator.standard_normal((200, 9)), x[:, :copies], np.full((200, dead), 3.3)])
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        moments = moments_in(dtype, x, y)
        assert_sound(moments)
        if dtype == torch.float64:
            assert cca(moments).kept.x == min(rank, 24)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 17, 60])
def test_any_number_of_samples_gives_values_or_reasons(dtype, n):
    generator = np.random.default_rng(n)
    x, y = generator.standard_normal((n, 16)), generator.standard_normal((n, 7))
    found = every_value(moments_in(dtype, x, y))
    assert_sound(moments_in(dtype, x, y))
    assert (found["cca"][0] is None) == (n <= 16)
    assert (found["cka"][0] is None) == (n == 1)


def test_too_few_samples_refuse_cca_with_the_way_out_and_cka_goes_on(moments_of):
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((30, 40)), generator.standard_normal((30, 50))
    with pytest.raises(TooFewSamples, match="use svcca or linear cka"):
        cca(moments_of(x, y))
    assert linear_cka(moments_of(x, y)) == pytest.approx(reference.cka(x, y), abs=1e-10)


@pytest.mark.parametrize("size", [1e6, -1e6])
def test_one_outlier_leaves_every_value_in_its_bounds(layers, size):
    x, y = layers(300, 8, 5)
    x[7, 3] = size
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        assert_sound(moments_in(dtype, x, y))
    assert cca(moments_in(torch.float64, x, y)).mean == pytest.approx(reference.cca(x, y).mean(), abs=1e-8)


@pytest.mark.parametrize("gemm", ["float64", "float32"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_means_of_a_hundred_thousand_cost_nothing(layers, dtype, gemm):
    tolerance = 1e-6 if gemm == "float64" else 5e-6
    x, y = layers(3000, 12, 9)
    moments = moments_in(dtype, x + 1e5, y - 1e5, gemm=gemm)
    moments = Moments.load(moments.save())
    a, b = (each.to(dtype).double().numpy() for each in (torch.from_numpy(x + 1e5), torch.from_numpy(y - 1e5)))
    assert cca(moments).mean == pytest.approx(reference.cca(a, b).mean(), abs=tolerance)
    assert svcca(moments).mean == pytest.approx(reference.svcca(a, b).mean(), abs=tolerance)
    assert pwcca(moments).mean == pytest.approx(reference.pwcca(a, b), abs=tolerance)
    assert linear_cka(moments) == pytest.approx(reference.cka(a, b), abs=tolerance)
    assert linear_cka(moments, debiased=True) == pytest.approx(reference.debiased_cka(a, b), abs=tolerance)
    assert procrustes(moments) == pytest.approx(reference.procrustes(a, b), abs=tolerance)
    assert linear_regression(moments).x_from_y == pytest.approx(reference.r_squared(a, b), abs=tolerance)


def test_batches_whose_mean_wanders_off_still_give_the_whole(layers, moments_of):
    """The origin follows the running mean: sorted samples, as of images by class, cost no digits."""
    x, y = layers(3000, 6, 4)
    x, y = x + np.linspace(0, 1e4, 3000)[:, None], y - np.linspace(0, 1e4, 3000)[:, None]
    moments = Moments(6, 4)
    for rows in np.array_split(np.arange(3000), 30):
        moments.update(x[rows], y[rows])
    np.testing.assert_allclose(cca(moments).values, reference.cca(x, y), atol=1e-8)
    assert linear_cka(moments, debiased=True) == pytest.approx(reference.debiased_cka(x, y), abs=1e-8)


@pytest.mark.parametrize(("n", "p", "q"), [(34, 32, 9), (100_000, 12, 20), (2000, 150, 40), (5000, 40, 150)])
def test_float64_references_agree_to_a_hundred_millionth(layers, moments_of, n, p, q):
    x, y = layers(n, p, q)
    moments = Moments(p, q)
    for rows in np.array_split(np.arange(n), 5):
        moments.merge(moments_of(x[rows], y[rows]))
    assert cca(moments).mean == pytest.approx(reference.cca(x, y).mean(), abs=1e-8)
    assert svcca(moments).mean == pytest.approx(reference.svcca(x, y).mean(), abs=1e-6)
    assert procrustes(moments) == pytest.approx(reference.procrustes(x, y), abs=1e-8)
    assert linear_regression(moments).x_from_y == pytest.approx(reference.r_squared(x, y), abs=1e-8)
    if p + q < n - 1:  # else correlations are 1 by arithmetic, and their weights are anybody's
        assert pwcca(moments).mean == pytest.approx(reference.pwcca(x, y), abs=1e-8)
    if n <= 2000:  # the Gram matrices are n x n
        assert linear_cka(moments) == pytest.approx(reference.cka(x, y), abs=1e-8)
        assert linear_cka(moments, debiased=True) == pytest.approx(reference.debiased_cka(x, y), abs=1e-8)


@pytest.mark.parametrize("gemm", ["float32", "tf32"])
def test_coarser_products_cut_what_their_rounding_hides(layers, moments_of, gemm):
    """Rank 20 of 64: with float32 products the other 44 directions are rounding, and must not be taken for real."""
    generator = np.random.default_rng(0)
    x = (generator.standard_normal((3000, 20)) @ generator.standard_normal((20, 64))).astype(np.float32)
    y = (x[:, :9] + generator.standard_normal((3000, 9))).astype(np.float32)
    moments, exact = Moments(64, 9, gemm=gemm), Moments(64, 9)
    for each in (moments, exact):
        each.update(x, y)
    assert cca(moments).kept == cca(exact).kept == (20, 9)
    assert cca(Moments.load(moments.save())).kept == (20, 9)
    assert cca(Moments(64, 9).merge(moments)).kept == (20, 9)
    assert cca(moments).mean == pytest.approx(cca(exact).mean, abs=1e-6)
    assert linear_cka(moments) == pytest.approx(linear_cka(exact), abs=1e-6)
