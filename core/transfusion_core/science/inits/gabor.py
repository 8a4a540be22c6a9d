"""Init `gabor`: the first convolution from a synthetic Gabor bank, the rest random.

The bank asks whether a network gains from any sensible edge filters or from those of natural images (Raghu et al.
2019, section 5.2). It is the same for every seed.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.science.inits.random import as_built
from transfusion_core.science.models.build import gabor_conv
from transfusion_core.specs.init import InitSpec, TensorReport

FREQUENCIES = 4
"""Frequencies of the bank, in even steps of octaves; filters / FREQUENCIES orientations."""
LOWEST_CYCLES_PER_PIXEL = 0.12
HIGHEST_CYCLES_PER_PIXEL = 0.35
"""Below the 0.5 at which a pixel grid folds, with room for the filter's own bandwidth."""
SIGMA_CYCLES = 0.56
"""Standard deviation of the envelope in cycles of the wave: a bandwidth of one octave (Daugman 1985)."""


class NoGaborConvolution(DataError):
    """The network's first layer is not one convolution of 5x5 or more, so Gabor filters do not fit into it."""

    code = "no_gabor_convolution"


def gabor(
    model: nn.Module, init: InitSpec, *, source: Mapping[str, Tensor], head: Sequence[str], seed: int
) -> list[TensorReport]:
    """Put the bank into the first convolution, repeated over colour, at the standard deviation it had before."""
    path = gabor_conv(model)
    if path is None:
        raise NoGaborConvolution()
    conv = model.get_parameter(f"{path}.weight")
    with torch.no_grad():
        conv.copy_(_filters(conv))
    return [_report(name, tensor, drawn=f"{path}.weight") for name, tensor in model.state_dict().items()]


def bank(filters: int, *, height: int, width: int) -> Tensor:
    """Gabor filters `(filters, height, width)`, each without mean and of unit norm, float64.

    Neighbours differ in frequency, then in the orientation of the wave, from 0 (along x) up to pi.
    """
    orientations = -(-filters // FREQUENCIES)
    ratio = HIGHEST_CYCLES_PER_PIXEL / LOWEST_CYCLES_PER_PIXEL
    waves = [LOWEST_CYCLES_PER_PIXEL * ratio ** (step / (FREQUENCIES - 1)) for step in range(FREQUENCIES)]
    angles = [math.pi * step / orientations for step in range(orientations)]
    drawn = [gabor_filter(height, width, angle=angle, cycles_per_pixel=wave) for angle in angles for wave in waves]
    return torch.stack(drawn[:filters])  # (filters, height, width)


def gabor_filter(height: int, width: int, *, angle: float, cycles_per_pixel: float) -> Tensor:
    """An even Gabor filter: a cosine wave that runs along `angle` under a round Gaussian, `(height, width)`."""
    y, x = torch.meshgrid(_centred(height), _centred(width), indexing="ij")
    along = x * math.cos(angle) + y * math.sin(angle)
    sigma = SIGMA_CYCLES / cycles_per_pixel
    wave = torch.exp(-(x**2 + y**2) / (2 * sigma**2)) * torch.cos(2 * math.pi * cycles_per_pixel * along)
    wave = wave - wave.mean()
    filtered: Tensor = wave / wave.norm()
    return filtered


def _centred(size: int) -> Tensor:
    return torch.arange(size, dtype=torch.float64) - (size - 1) / 2


def _filters(conv: Tensor) -> Tensor:
    filters, channels, height, width = conv.shape
    drawn = bank(filters, height=height, width=width)[:, None].repeat(1, channels, 1, 1)
    return drawn * (conv.double().std() / drawn.std())


def _report(name: str, tensor: Tensor, *, drawn: str) -> TensorReport:
    if name != drawn:
        return as_built(name, tensor)
    return TensorReport(name=name, shape=list(tensor.shape), action="drawn", reason="Gabor bank")
