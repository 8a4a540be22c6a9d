"""Convolutions of maps that are smaller than their kernel are products, and put out what they do by themselves."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from transfusion_core.science.similarity import convolutions
from transfusion_core.science.similarity.convolutions import fast_convolutions


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def made(monkeypatch):
    """The sizes of maps for which a matrix was made."""
    sizes, make = [], convolutions._matrix

    def seen(convolution, size):
        sizes.append(tuple(size))
        return make(convolution, size)

    monkeypatch.setattr(convolutions, "_matrix", seen)
    return sizes


def same(convolution, maps):
    """Run it by itself and as in a comparison, twice: both put out the same."""
    with torch.inference_mode():
        alone = convolution(maps)
        with fast_convolutions(convolution):
            found = [convolution(maps), convolution(input=maps)]
    for each in found:
        torch.testing.assert_close(each, alone)
    assert "forward" not in vars(convolution)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((2, 2), {"kernel_size": 3, "padding": 1}),
        ((2, 2), {"kernel_size": 3, "padding": 1, "bias": False}),
        ((1, 1), {"kernel_size": 3, "padding": 1}),
        ((1, 3), {"kernel_size": 3, "padding": (1, 2)}),
        ((2, 2), {"kernel_size": 3, "padding": 1, "stride": 2}),
        ((2, 2), {"kernel_size": 3, "padding": 2, "dilation": 2}),
        ((3, 4), {"kernel_size": (5, 7), "padding": (2, 3), "stride": (1, 2)}),
    ],
)
def test_small_maps_are_multiplied_by_one_matrix(dtype, size, options, made):
    convolution = nn.Conv2d(5, 7, **options, dtype=dtype)
    same(convolution, torch.randn(6, 5, *size, dtype=dtype))
    assert made == [size]


@pytest.mark.parametrize("others", [0, 1, 7, 40, 61, 99])
def test_an_image_puts_out_the_same_bits_among_any_number_of_others(others, made):
    convolution = nn.Conv2d(128, 128, 3, padding=1)
    maps = torch.randn(100, 128, 2, 2)
    with torch.inference_mode(), fast_convolutions(convolution):
        every = convolution(maps)
        for image in (0, 30, 99):
            first = min(image, 99 - others)
            some = convolution(maps[first : first + others + 1])
            assert torch.equal(some[image - first], every[image])
    assert made == [(2, 2)]


@pytest.mark.parametrize("size", [(1, 1), (2, 2)])
def test_an_image_puts_out_the_same_bits_on_any_number_of_threads(size):
    convolution = nn.Conv2d(256, 256, 3, padding=1)
    maps, found, before = torch.randn(70, 256, *size), [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with torch.inference_mode(), fast_convolutions(convolution):
                found.append(convolution(maps))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], other) for other in found)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((3, 3), {"kernel_size": 3, "padding": 1}),
        ((1, 1), {"kernel_size": 1}),
        ((2, 2), {"kernel_size": 3, "padding": 1, "groups": 2}),
        ((2, 2), {"kernel_size": 3, "padding": "same"}),
        ((2, 2), {"kernel_size": 3, "padding": 1, "padding_mode": "reflect"}),
    ],
)
def test_other_convolutions_are_run_as_they_are(size, options, made):
    same(nn.Conv2d(4, 6, **options), torch.randn(6, 4, *size))
    assert made == []


def test_a_matrix_that_would_be_too_large_is_not_made(made, monkeypatch):
    monkeypatch.setattr(convolutions, "_LARGEST", 4 * 4 * 5 * 7 - 1)
    same(nn.Conv2d(5, 7, 3, padding=1), torch.randn(6, 5, 2, 2))
    assert made == []


def test_weights_that_are_worked_out_and_single_maps_are_left_alone(made):
    same(weight_norm(nn.Conv2d(5, 7, 3, padding=1)), torch.randn(6, 5, 2, 2))
    same(nn.Conv2d(5, 7, 3, padding=1), torch.randn(5, 2, 2))
    assert made == []


def test_a_convolution_of_another_kind_keeps_its_own_way(made):
    class Doubled(nn.Conv2d):
        def forward(self, maps):
            return 2 * super().forward(maps)

    convolution = Doubled(5, 7, 3, padding=1)
    maps = torch.randn(6, 5, 2, 2)
    with torch.inference_mode(), fast_convolutions(convolution):
        torch.testing.assert_close(convolution(maps), 2 * nn.Conv2d.forward(convolution, maps))
    assert made == []


def test_autocast_is_left_to_choose(made):
    convolution, maps = nn.Conv2d(5, 7, 3, padding=1), torch.randn(6, 5, 2, 2)
    with torch.inference_mode(), fast_convolutions(convolution), torch.autocast("cpu", dtype=torch.bfloat16):
        assert convolution(maps).dtype == torch.bfloat16
    assert made == []


@pytest.mark.parametrize("channels", [4, 6])
def test_maps_of_other_channels_are_refused_as_by_itself(channels):
    convolution = nn.Conv2d(5, 7, 3, padding=1)
    with fast_convolutions(convolution), pytest.raises(RuntimeError, match="channels"):
        convolution(torch.randn(6, channels, 2, 2))
    assert "forward" not in vars(convolution)


def test_maps_too_small_for_any_output_are_refused_as_by_itself():
    with fast_convolutions(convolution := nn.Conv2d(5, 7, 3)), pytest.raises(RuntimeError, match="Kernel size"):
        convolution(torch.randn(6, 5, 2, 2))


def test_one_module_of_two_networks_is_put_back_once_both_are_done():
    convolution, maps = nn.Conv2d(5, 7, 3, padding=1), torch.randn(6, 5, 2, 2)
    with fast_convolutions(convolution), fast_convolutions(convolution):
        convolution(maps)
    assert "forward" not in vars(convolution)
    assert not convolution._forward_pre_hooks
