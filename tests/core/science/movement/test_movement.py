"""Movement of weights: zero for nothing, sqrt(2) for a fresh draw, one number per tensor, and refusals."""

from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from transfusion_core.science.movement import (
    LayerMovement,
    MismatchedStates,
    cosine,
    filter_correlations,
    filter_grid,
    relative_l2,
    weight_movement,
)


@pytest.fixture
def weights():
    return torch.randn(8, 3, 7, 7, generator=torch.Generator().manual_seed(3))


def test_nothing_moved_is_zero_and_cosine_one(weights):
    assert relative_l2(weights, weights.clone()) == 0
    assert cosine(weights, weights.clone()) == pytest.approx(1, abs=1e-15)
    assert filter_correlations(weights, weights.clone()) == pytest.approx([1] * 8, abs=1e-15)


def test_a_fresh_draw_is_the_root_of_two_away_and_at_right_angles():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, 300, 300, generator=generator)
    assert relative_l2(before, after) == pytest.approx(sqrt(2), abs=0.02)
    assert cosine(before, after) == pytest.approx(0, abs=0.02)


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(-50, 50).filter(lambda factor: abs(factor) > 1e-3))
def test_scaling_weights_moves_them_without_turning_them(factor):
    weights = torch.linspace(-1, 2, 24, dtype=torch.float64).reshape(4, 6)
    assert relative_l2(weights, factor * weights) == pytest.approx(abs(factor - 1), abs=1e-12)
    assert cosine(weights, factor * weights) == pytest.approx(np.sign(factor), abs=1e-12)
    assert -1 <= cosine(weights, factor * weights) <= 1


def test_movement_is_measured_in_float64(weights):
    half = weights.bfloat16()
    expected = float((weights.double() - half.double()).norm() / half.double().norm())
    assert relative_l2(half, weights) == expected


def test_filter_correlation_ignores_scale_and_offset_of_a_filter_and_is_pearsons(weights):
    other = weights + 0.5 * torch.flip(weights, (0,))
    expected = [np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1] for a, b in zip(weights, other, strict=True)]
    assert filter_correlations(weights, other) == pytest.approx(expected, abs=1e-6)
    assert filter_correlations(weights, -3 * weights + 1) == pytest.approx([-1] * 8, abs=1e-6)


def test_a_flat_or_broken_filter_has_no_correlation(weights):
    weights[2], weights[5, 0, 0, 0] = 0.1, float("nan")
    correlations = filter_correlations(weights, weights)
    assert [index for index, value in enumerate(correlations) if value is None] == [2, 5]


def test_filters_need_two_axes():
    with pytest.raises(ValueError, match="filters expected"):
        filter_correlations(torch.zeros(3), torch.zeros(3))


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2)).state_dict()


def test_a_network_moves_tensor_by_tensor_in_its_own_order():
    before, after = network(0), network(1)
    first, second = weight_movement(before, after)
    assert (first.layer, first.tensor, second.layer, second.tensor) == ("0", "weight", "3", "weight")
    assert first.relative_l2 == relative_l2(before["0.weight"], after["0.weight"])
    assert second.cosine == cosine(before["3.weight"], after["3.weight"])
    assert first.reason is None


def test_one_layer_that_moves_leaves_the_others_at_zero():
    before, after = network(0), network(0)
    after["3.weight"] = after["3.weight"] * 2
    assert [moved.relative_l2 for moved in weight_movement(before, after)] == [0, pytest.approx(1)]


def test_a_zero_tensor_has_a_reason_and_keeps_the_number_that_exists():
    zero, one = {"w": torch.zeros(2, 2)}, {"w": torch.ones(2, 2)}
    assert weight_movement(zero, one) == [LayerMovement("", "w", None, None, "all weights are zero before")]
    assert weight_movement(one, zero) == [LayerMovement("", "w", 1.0, None, "all weights are zero after")]
    assert weight_movement(zero, zero)[0].reason == "all weights are zero before and after"


def test_nan_weights_have_a_reason_instead_of_a_number():
    broken = {"w": torch.tensor([[1.0, float("nan")]])}
    (moved,) = weight_movement({"w": torch.ones(1, 2)}, broken)
    assert (moved.relative_l2, moved.cosine) == (None, None)
    assert moved.reason == "the weights after hold NaN or infinity"


def test_states_of_different_models_are_refused_with_every_difference():
    before = {"a": torch.zeros(2, 2), "b": torch.zeros(3), "c": torch.zeros(1)}
    after = {"a": torch.zeros(2, 3), "b": torch.zeros(3), "d": torch.zeros(1)}
    with pytest.raises(MismatchedStates, match=r"c is missing after; d is missing before; a is \(2, 2\) before"):
        weight_movement(before, after)
    with pytest.raises(MismatchedStates, match="shapes differ"):
        relative_l2(before["a"], after["a"])


def test_filters_make_one_picture_near_square_each_stretched_by_itself() -> None:
    filters = torch.zeros(5, 3, 2, 2)
    filters[0, 0, 0, 0] = 1.0  # red, on black
    filters[1] = 7.0  # flat
    filters[2, :, 1, 1] = -3.0
    picture = filter_grid(filters, scale=2)
    assert (picture.dtype, tuple(picture.shape)) == (torch.uint8, (3, 2 * 6, 3 * 6))
    assert picture[:, 0, 0].tolist() == [255, 0, 0]
    assert picture[:, 3, 3].tolist() == [0, 0, 0]
    assert picture[:, 0, 6].tolist() == [128, 128, 128]
    assert picture[:, 0, 4].tolist() == [255, 255, 255], "between filters"
    assert picture[:, 3, 15].tolist() == [0, 0, 0]
    assert picture[:, 6, 12].tolist() == [255, 255, 255], "no sixth filter"


def test_filters_of_other_channels_are_grey_and_nan_counts_as_zero() -> None:
    filters = torch.tensor([0.0, 1.0, torch.nan, 2.0]).reshape(1, 1, 2, 2)
    assert filter_grid(filters, scale=1)[:, 0, 0].unique().numel() == 1
    assert filter_grid(filters, scale=1)[0, 1, 0] == 0
    assert filter_grid(torch.randn(2, 4, 3, 3)).shape[0] == 3
    with pytest.raises(ValueError, match="expected as"):
        filter_grid(torch.zeros(4, 3))
