"""CCA, SVCCA and PWCCA: their theorems, their references, and layers that are not of full rank."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import similarity_reference as reference
from transfusion_core.science.similarity import Moments, TooFewSamples, cca, pwcca, svcca

MEASURES = [cca, svcca, pwcca]
SIZES = [(300, 8, 5), (300, 5, 8), (300, 6, 6), (120, 1, 7), (120, 7, 1), (500, 40, 64), (65, 32, 64)]


@pytest.mark.parametrize(("n", "p", "q"), SIZES)
def test_each_measure_equals_its_slow_reference(layers, moments_of, n, p, q):
    x, y = layers(n, p, q)
    moments = moments_of(x, y)
    np.testing.assert_allclose(cca(moments).values, reference.cca(x, y), atol=1e-8)
    assert cca(moments).mean == pytest.approx(reference.cca(x, y).mean(), abs=1e-8)
    assert cca(moments).mean_squared == pytest.approx((reference.cca(x, y) ** 2).mean(), abs=1e-8)
    np.testing.assert_allclose(svcca(moments).values, reference.svcca(x, y), atol=1e-8)
    assert pwcca(moments).mean == pytest.approx(reference.pwcca(x, y), abs=1e-8)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_copy_has_similarity_one(layers, moments_of, measure):
    x, _ = layers()
    result = measure(moments_of(x, x))
    assert result.mean == pytest.approx(1, abs=1e-12)
    assert result.values.max() <= 1


@pytest.mark.parametrize("measure", MEASURES)
def test_cca_svcca_and_pwcca_do_not_depend_on_which_side_is_first_when_widths_differ(layers, moments_of, measure):
    x, y = layers(300, 9, 4)
    assert measure(moments_of(x, y)).mean == pytest.approx(measure(moments_of(y, x)).mean, abs=1e-11)


def test_values_fall_and_are_as_many_as_the_narrower_layer(layers, moments_of):
    result = cca(moments_of(*layers(300, 9, 4)))
    assert result.values.shape == (4,)
    assert result.values.dtype == torch.float64
    assert (result.values.diff() <= 0).all()
    assert (result.kept.x, result.kept.y) == (9, 4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), p=st.integers(1, 8), q=st.integers(1, 8))
def test_cca_is_invariant_to_invertible_maps_of_both_layers(seed, p, q):
    generator = np.random.default_rng(seed)
    x, y = generator.standard_normal((100, p)), generator.standard_normal((100, q))
    x[:, 0] += y[:, 0]
    before, after = Moments(p, q), Moments(p, q)
    before.update(x, y)
    after.update(x @ well_conditioned(generator, p) + 3, y @ well_conditioned(generator, q) - 9)
    np.testing.assert_allclose(cca(before).values, cca(after).values, atol=1e-10)


def well_conditioned(generator, width):
    left, right = (np.linalg.qr(generator.standard_normal((width, width)))[0] for _ in range(2))
    return left * generator.uniform(0.3, 3, width) @ right


def test_cca_keeps_neurons_of_any_scale(layers, moments_of):
    x, y = layers()
    scales = 10.0 ** np.linspace(-9, 9, 8)
    result = cca(moments_of(x * scales, y))
    assert result.kept.x == 8
    np.testing.assert_allclose(result.values, reference.cca(x, y), atol=1e-9)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_one_common_scale_however_extreme_changes_nothing(layers, moments_of, factor):
    x, y = layers()
    for measure in MEASURES:
        assert measure(moments_of(x * factor, y)).mean == pytest.approx(measure(moments_of(x, y)).mean, abs=1e-10)


def test_svcca_is_invariant_to_rotation_but_not_to_invertible_maps(layers, generator, moments_of):
    x, y = layers()
    rotation = np.linalg.qr(generator.standard_normal((8, 8)))[0]
    plain, rotated = svcca(moments_of(x, y)), svcca(moments_of(x @ rotation + 2, y))
    np.testing.assert_allclose(plain.values, rotated.values, atol=1e-10)
    scaled = svcca(moments_of(x * np.array([1e3, 1, 1, 1, 1, 1, 1, 1]), y))
    assert scaled.kept.x == 1
    assert abs(scaled.mean - plain.mean) > 0.05


def test_pwcca_is_invariant_to_maps_of_the_other_layer_but_not_of_the_reference(layers, generator, moments_of):
    x, y = layers(300, 8, 5)  # y is the reference
    plain = pwcca(moments_of(x, y)).mean
    assert pwcca(moments_of(x @ well_conditioned(generator, 8) + 1, y)).mean == pytest.approx(plain, abs=1e-10)
    assert pwcca(moments_of(x, -7 * y[:, ::-1] + 100)).mean == pytest.approx(plain, abs=1e-10)
    assert abs(pwcca(moments_of(x, y * np.array([100, 1, 1, 1, 1]))).mean - plain) > 1e-3


def test_svcca_keeps_the_share_of_variance_not_of_standard_deviation(generator, moments_of):
    x = np.linalg.qr(generator.standard_normal((400, 5)) - 0.0)[0]
    x = np.linalg.qr(x - x.mean(0))[0] * np.sqrt([90, 8, 1.5, 0.4, 0.1])  # shares 0.9, 0.98, 0.995, ...
    for variance, kept in [(0.5, 1), (0.9, 1), (0.95, 2), (0.99, 3), (0.9955, 4), (1.0, 5)]:
        assert svcca(moments_of(x, x), variance=variance).kept == (kept, kept)
    for variance in (0.0, 1.01, float("nan")):
        with pytest.raises(ValueError, match=r"\(0, 1\]"):
            svcca(moments_of(x, x), variance=variance)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_rank_twenty_of_sixty_four_is_seen_as_twenty(generator, dtype):
    inner = generator.standard_normal((1000, 20))
    x = (inner @ generator.standard_normal((20, 64))).astype(dtype)
    y = generator.standard_normal((1000, 30)).astype(dtype)
    y[:, :10] += inner[:, :10].astype(dtype)
    moments = Moments(64, 30)
    moments.update(x, y)
    for measure in (cca, pwcca):
        result = measure(moments)
        assert result.kept == (20, 30)
        assert len(result.values) == 20
    np.testing.assert_allclose(cca(moments).values, reference.cca(inner, y.astype(float)), atol=2e-3)


def test_dead_duplicated_and_dependent_neurons_change_no_correlation(layers, moments_of):
    x, y = layers(300, 6, 4)
    spoilt = np.column_stack([x, np.full(300, 7.3), x[:, 0], x[:, 1] - 2 * x[:, 2], np.zeros(300)])
    plain, result = cca(moments_of(x, y)), cca(moments_of(spoilt, y))
    assert result.kept == (6, 4)
    np.testing.assert_allclose(result.values, plain.values, atol=1e-9)
    assert result.mean == pytest.approx(plain.mean, abs=1e-9)
    assert pwcca(moments_of(spoilt, y)).mean == pytest.approx(reference.pwcca(spoilt, y), abs=1e-8)
    assert pwcca(moments_of(y, spoilt)).mean == pytest.approx(reference.pwcca(y, spoilt), abs=1e-8)
    np.testing.assert_allclose(reference.cca_by_rank(spoilt, y), plain.values, atol=1e-8)


@pytest.mark.parametrize("measure", MEASURES)
def test_a_constant_layer_has_no_value_and_a_reason(generator, moments_of, measure):
    x, y = generator.standard_normal((50, 3)), np.full((50, 4), 0.1)
    for moments, name in [(moments_of(x, y), "second"), (moments_of(y, x), "first")]:
        result = measure(moments)
        assert result.mean is None
        assert result.mean_squared is None
        assert len(result.values) == 0
        assert result.reason == f"the {name} layer does not vary over the 50 samples"
        assert 0 in result.kept


@pytest.mark.parametrize("measure", MEASURES)
def test_an_outlier_of_a_million_leaves_values_in_range(generator, moments_of, measure):
    x, y = generator.standard_normal((400, 6)), generator.standard_normal((400, 5))
    x[17], y[17, 2] = 1e6, -1e6
    result = measure(moments_of(x, y))
    assert 0 <= result.mean <= 1
    assert ((result.values >= 0) & (result.values <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_stays_near_its_float64_values(layers, dtype):
    x, y = (torch.from_numpy(layer).to(dtype) for layer in layers())
    moments = Moments(8, 5)
    moments.update(x, y)
    np.testing.assert_allclose(cca(moments).values, reference.cca(x.double().numpy(), y.double().numpy()), atol=1e-8)


@pytest.mark.parametrize("measure", [cca, pwcca])
def test_as_many_neurons_as_samples_is_refused_with_sizes_and_a_way_out(generator, moments_of, measure):
    x, y = generator.standard_normal((20, 20)), generator.standard_normal((20, 3))
    with pytest.raises(TooFewSamples, match=r"n = 20 .* p = 20 and q = 3 .* svcca or linear cka") as caught:
        measure(moments_of(x, y))
    assert (caught.value.n, caught.value.p, caught.value.q) == (20, 20, 3)
    assert measure(moments_of(x[:, :19], y)).mean == pytest.approx(1)  # 19 directions fill all that 20 samples have


def test_svcca_works_with_fewer_samples_than_neurons(generator, moments_of):
    signal = generator.standard_normal((40, 3))
    x = signal @ generator.standard_normal((3, 100)) + 0.01 * generator.standard_normal((40, 100))
    y = signal @ generator.standard_normal((3, 80)) + 0.01 * generator.standard_normal((40, 80))
    result = svcca(moments_of(x, y))
    assert result.kept == (3, 3)
    assert result.mean == pytest.approx(reference.svcca(x, y).mean(), abs=1e-9)


def test_svcca_refuses_directions_that_fill_every_dimension_of_the_samples(generator, moments_of):
    x, y = generator.standard_normal((6, 50)), generator.standard_normal((6, 50))
    with pytest.raises(TooFewSamples, match="n must exceed 6; use linear cka"):
        svcca(moments_of(x, y))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 60),
    p=st.integers(1, 9),
    q=st.integers(1, 9),
    rank=st.integers(0, 9),
)
def test_no_input_gives_nan_or_leaves_the_unit_interval(seed, n, p, q, rank):
    generator = np.random.default_rng(seed)
    inner = generator.standard_normal((n, rank)) * 10.0 ** generator.integers(-6, 6, rank)
    x = inner @ generator.standard_normal((rank, p)) + 10.0 ** generator.integers(-3, 6)
    y = inner @ generator.standard_normal((rank, q)) * 10.0 ** generator.integers(-6, 6, q)
    moments = Moments(p, q)
    moments.update(x.astype(np.float32), y)
    for measure in MEASURES:
        try:
            result = measure(moments)
        except TooFewSamples:
            continue
        assert ((result.values >= 0) & (result.values <= 1)).all()
        assert (result.mean is None) == (result.reason is not None)
        assert result.mean is None or 0 <= result.mean <= 1
