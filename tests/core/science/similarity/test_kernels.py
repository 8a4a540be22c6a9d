"""CKA, Procrustes and linear regression: what they are invariant to, what not, and their references."""

import numpy as np
import pytest
import torch

import similarity_reference as reference
from transfusion_core.science.similarity import Moments, cka_reason, linear_cka, linear_regression, procrustes

SIZES = [(300, 8, 5), (60, 5, 8), (40, 6, 6), (30, 1, 7), (12, 40, 64), (4, 3, 3)]


def debiased(moments):
    return linear_cka(moments, debiased=True)


def x_from_y(moments):
    return linear_regression(moments).x_from_y


def rotation(generator, width):
    return np.linalg.qr(generator.standard_normal((width, width)))[0]


@pytest.mark.parametrize(("n", "p", "q"), SIZES)
def test_each_measure_equals_its_slow_reference(layers, moments_of, n, p, q):
    x, y = layers(n, p, q)
    moments = moments_of(x, y)
    assert linear_cka(moments) == pytest.approx(reference.cka(x, y), abs=1e-9)
    assert debiased(moments) == pytest.approx(reference.debiased_cka(x, y), abs=1e-9)
    assert procrustes(moments) == pytest.approx(reference.procrustes(x, y), abs=1e-9)
    both = linear_regression(moments)
    assert both.x_from_y == pytest.approx(reference.r_squared(x, y), abs=1e-9)
    assert both.y_from_x == pytest.approx(reference.r_squared(y, x), abs=1e-9)
    assert both.kept == (min(p, n - 1), min(q, n - 1))


@pytest.mark.parametrize("measure", [linear_cka, debiased, procrustes])
def test_order_of_the_two_layers_does_not_matter(layers, moments_of, measure):
    x, y = layers()
    assert measure(moments_of(x, y)) == pytest.approx(measure(moments_of(y, x)), abs=1e-12)


def test_a_copy_is_alike_in_every_way(layers, moments_of):
    moments = moments_of(*[layers()[0]] * 2)
    assert linear_cka(moments) == pytest.approx(1, abs=1e-12)
    assert debiased(moments) == pytest.approx(1, abs=1e-12)
    assert procrustes(moments) == pytest.approx(0, abs=1e-12)
    assert linear_regression(moments).x_from_y == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("measure", [linear_cka, debiased, procrustes, x_from_y])
def test_rotations_shifts_and_a_common_scale_change_nothing(layers, generator, moments_of, measure):
    x, y = layers()
    moved_x, moved_y = 1e4 * x @ rotation(generator, 8) + 50, 1e-4 * y @ rotation(generator, 5) - 1
    assert measure(moments_of(moved_x, moved_y)) == pytest.approx(measure(moments_of(x, y)), abs=1e-8)


@pytest.mark.parametrize("measure", [linear_cka, debiased, procrustes])
def test_invertible_maps_are_no_invariance_of_cka_and_procrustes(layers, moments_of, measure):
    x, y = layers()
    stretched = x * np.array([30, 1, 1, 1, 1, 1, 1, 1])
    assert abs(measure(moments_of(stretched, y)) - measure(moments_of(x, y))) > 0.02


def test_regression_is_invariant_to_maps_of_the_explaining_layer_only(layers, generator, moments_of):
    x, y = layers()
    plain = linear_regression(moments_of(x, y))
    mapped = linear_regression(moments_of(x, y @ (rotation(generator, 5) * [1, 2, 3, 4, 5]) + 8))
    assert mapped.x_from_y == pytest.approx(plain.x_from_y, abs=1e-10)
    assert abs(mapped.y_from_x - plain.y_from_x) > 1e-3


def test_noise_aligns_by_plain_cka_but_not_by_the_debiased_one(generator, moments_of):
    pairs = [(generator.standard_normal((30, 60)), generator.standard_normal((30, 60))) for _ in range(40)]
    assert np.mean([linear_cka(moments_of(x, y)) for x, y in pairs]) > 0.6
    values = [debiased(moments_of(x, y)) for x, y in pairs]
    assert abs(np.mean(values)) < 0.03
    assert min(values) < 0  # an unbiased estimate of zero falls on both sides


def test_debiased_cka_merges_exactly(layers, moments_of):
    x, y = layers(90)
    merged = moments_of(x[:7], y[:7]).merge(moments_of(x[7:50], y[7:50])).merge(moments_of(x[50:], y[50:]))
    assert debiased(merged) == pytest.approx(debiased(moments_of(x, y)), abs=1e-11)


@pytest.mark.parametrize("measure", [linear_cka, debiased, procrustes, x_from_y])
def test_a_constant_layer_or_a_single_sample_has_no_value(generator, moments_of, measure):
    x, constant = generator.standard_normal((50, 3)), np.full((50, 2), 0.1)
    assert measure(moments_of(x, constant)) is None
    assert measure(moments_of(constant, x)) is None
    assert measure(moments_of(x[:1], x[:1])) is None
    assert linear_regression(moments_of(constant, x)).reason == "the first layer does not vary over the 50 samples"
    assert cka_reason(moments_of(constant, constant)) == (
        "the first and the second layer does not vary over the 50 samples"
    )


def test_debiased_cka_says_why_it_is_missing(generator, moments_of):
    x, lone = generator.standard_normal((20, 2)), np.zeros((20, 2))
    lone[4] = 3  # one sample apart from all others: no two others differ
    assert debiased(moments_of(x[:3], x[:3])) is None
    assert "at least 4 samples" in cka_reason(moments_of(x[:3], x[:3]), debiased=True)
    assert debiased(moments_of(x, lone)) is None
    assert "share nothing" in cka_reason(moments_of(x, lone), debiased=True)
    assert cka_reason(moments_of(x, lone)) is None


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_extreme_scales_stay_in_range(layers, moments_of, factor):
    x, y = layers()
    for measure in (linear_cka, debiased, procrustes, x_from_y):
        assert measure(moments_of(x * factor, y)) == pytest.approx(measure(moments_of(x, y)), abs=1e-9)


def test_outliers_and_half_precision_stay_in_range(layers):
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        x, y = (torch.from_numpy(layer).to(dtype) for layer in layers())
        x[3], y[9, 1] = 6e4, -6e4
        moments = Moments(8, 5)
        moments.update(x, y)
        assert 0 <= linear_cka(moments) <= 1
        assert -1 <= debiased(moments) <= 1
        assert 0 <= procrustes(moments) <= 2
        assert 0 <= x_from_y(moments) <= 1


def test_layers_without_any_correlation_are_two_apart(moments_of):
    signs = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    moments = moments_of(signs[:, :1], signs[:, 1:])
    assert procrustes(moments) == pytest.approx(2)
    assert linear_cka(moments) == 0
