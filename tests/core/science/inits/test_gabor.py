import math

import pytest
import torch

from transfusion_core.science.inits.gabor import FREQUENCIES, NoGaborConvolution, bank, gabor_filter
from transfusion_core.specs.init import InitSpec

INIT = InitSpec(kind="gabor")


@pytest.mark.parametrize("degrees", [0, 30, 45, 90, 135])
def test_a_filters_spectrum_peaks_at_its_orientation_and_frequency(degrees: int) -> None:
    angle, wave = math.radians(degrees), 0.25
    spectrum = torch.fft.fft2(gabor_filter(7, 7, angle=angle, cycles_per_pixel=wave), s=(256, 256)).abs()
    row, column = divmod(int(spectrum.argmax()), 256)
    v, u = (((index + 128) % 256 - 128) / 256 for index in (row, column))
    assert math.hypot(u, v) == pytest.approx(wave, abs=0.03)
    # A wave has no sign: compare the directions modulo pi.
    assert math.cos(2 * (math.atan2(v, u) - angle)) > 0.98


def test_quarter_turns_of_a_filter_are_the_filter_of_the_turned_wave() -> None:
    upright = gabor_filter(7, 7, angle=0.0, cycles_per_pixel=0.2)
    torch.testing.assert_close(upright.T, gabor_filter(7, 7, angle=math.pi / 2, cycles_per_pixel=0.2))


@pytest.mark.parametrize("filters", [32, 64, 30])
def test_the_bank_fills_the_filters_with_different_ones_of_unit_norm_and_no_mean(filters: int) -> None:
    found = bank(filters, height=7, width=7)
    assert found.shape == (filters, 7, 7)
    torch.testing.assert_close(found.flatten(1).norm(dim=1), torch.ones(filters, dtype=torch.float64))
    assert float(found.mean(dim=(1, 2)).abs().max()) < 1e-12
    alike = found.flatten(1) @ found.flatten(1).T - torch.eye(filters)
    assert float(alike.max()) < 0.9999


def test_neighbours_in_the_bank_differ_in_frequency() -> None:
    def frequency(filtered: torch.Tensor) -> float:
        index = int(torch.fft.fft(filtered.sum(dim=0), n=512).abs()[:256].argmax())
        return index / 512

    found = [frequency(one) for one in bank(32, height=11, width=11)[:FREQUENCIES]]
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    ("name", "conv"), [("cbr-large-t", "stage1.conv"), ("cbr-tiny", "stage1.conv"), ("resnet18", "conv1")]
)
def test_the_first_convolution_is_the_bank_in_every_colour_at_the_default_scale(start, name: str, conv: str) -> None:
    plain, _ = start(InitSpec(kind="random"), name=name)
    state, report = start(INIT, name=name)
    weight = state[f"{conv}.weight"]
    assert float(weight.std()) == pytest.approx(float(plain[f"{conv}.weight"].std()), rel=1e-5)
    assert torch.equal(weight[:, 0], weight[:, 1])
    drawn = [row.name for row in report.tensors if row.action == "drawn"]
    assert drawn == [f"{conv}.weight"]
    assert all(torch.equal(state[key], plain[key]) for key in state if key not in drawn)


@pytest.mark.parametrize(("name", "size"), [("test_vit", 32), ("mobilenetv2_100", 32)])
def test_a_network_without_a_large_first_convolution_is_refused(start, name: str, size: int) -> None:
    with pytest.raises(NoGaborConvolution, match="not one convolution of 5x5 or more"):
        start(INIT, name=name, size=size)
