"""From a layer's output to samples: rows that belong together in any two layers that are compared.

A layer's positions are the places of a feature map, or a transformer's tokens; a plain vector has one. Its class
token is no place, and goes by a name of its own.
"""

from dataclasses import dataclass
from math import prod
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

Grid: TypeAlias = tuple[int, ...]
"""Positions of a layer: () for a vector, (tokens,), or (height, width)."""

PAPER_CHANNELS, PAPER_SAMPLES, PAPER_DRAWS = 64, 10_000, 5
"""The protocol of Raghu et al. 2019 for wide layers."""
CLASS_TOKEN = "[class]"
"""What follows a layer's name to mean its class token alone."""


class Shape(NamedTuple):
    """What a layer puts out for one image: `channels` at each position of a `grid`."""

    channels: int
    grid: Grid


class View(NamedTuple):
    """One layer of one network as samples: at the positions of `grid`, to which its own are pooled.

    `draw` numbers the random subset of `channels` that the paper's protocol looks at; all of them where it is None.
    """

    network: int
    layer: str
    grid: Grid
    draw: int | None = None

    def __str__(self) -> str:
        """Name it among others."""
        return f"{self.network}/{self.layer}/{'x'.join(map(str, self.grid))}/{self.draw}"

    @property
    def positions(self) -> int:
        """Number of positions of an image."""
        return prod(self.grid)


@dataclass(frozen=True)
class Sampling:
    """Which samples are taken of an image.

    `positions_per_image`: at most so many positions, drawn at random; None averages over them all. `seed` draws them,
    and the channels. `channels`, `draws`: so many random channels, so often; all channels, once, where None.
    """

    positions_per_image: int | None = 16
    seed: int = 0
    channels: int | None = None
    draws: int = 1

    def __post_init__(self) -> None:
        """Raise ValueError for a budget or a number of draws below 1."""
        for name in ("positions_per_image", "channels", "draws"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise ValueError(f"{name}: at least 1 expected, got {number}")

    @classmethod
    def paper(cls, images: int, *, seed: int = 0) -> "Sampling":
        """The protocol of Raghu et al. 2019: 64 random channels, about 10,000 samples, 5 draws."""
        positions = max(1, round(PAPER_SAMPLES / max(images, 1)))
        return cls(positions_per_image=positions, seed=seed, channels=PAPER_CHANNELS, draws=PAPER_DRAWS)


def channels_first(activations: Tensor) -> Tensor:
    """Turn (n, h, w, c), as Swin puts out, into (n, c, h, w). Raises ValueError on other numbers of axes."""
    if activations.ndim != 4:
        raise ValueError(f"channels last means (n, h, w, c), got {tuple(activations.shape)}")
    return activations.permute(0, 3, 1, 2)


def shape_of(activations: Tensor) -> Shape:
    """Read the shape of (n, c), (n, tokens, c) or (n, c, h, w). Raises ValueError on others."""
    if activations.ndim == 4:
        return Shape(activations.shape[1], tuple(activations.shape[2:]))
    if activations.ndim in (2, 3):
        return Shape(activations.shape[-1], tuple(activations.shape[1:-1]))
    raise ValueError(f"expected (n, c), (n, tokens, c) or (n, c, h, w), got {tuple(activations.shape)}")


def common_grid(a: Grid, b: Grid) -> tuple[Grid, Grid]:
    """Return the grids at which two layers have equally many positions.

    Feature maps are pooled to the smaller height and width. Numbers of positions that still differ (tokens against a
    map, a map against a vector) are averaged to one.
    """
    if len(a) == len(b) == 2:
        a = b = (min(a[0], b[0]), min(a[1], b[1]))
    return (a, b) if prod(a) == prod(b) else ((), ())


def take(activations: Tensor, grid: Grid, drawn: Tensor | None) -> Tensor:
    """Make samples (n, positions, channels) of activations (n, c), (n, tokens, c) or (n, c, h, w).

    `drawn` (n, k) picks positions of `grid`, None keeps all. The memory's order is that of the activations, so
    that nothing is transposed.
    """
    if activations.ndim == 2:
        return activations[:, None, :]
    if activations.ndim == 4 and len(grid) == 2 and tuple(activations.shape[2:]) != grid:
        activations = adaptive_avg_pool2d(activations, grid)
    if activations.ndim == 3:
        return _take_rows(activations, grid, drawn)
    if activations.is_contiguous():
        return _take_columns(activations.flatten(2), grid, drawn)
    return _take_rows(activations.permute(0, 2, 3, 1).flatten(1, 2), grid, drawn)


def _take_rows(activations: Tensor, grid: Grid, drawn: Tensor | None) -> Tensor:
    """Make samples of (n, positions, c), channels innermost."""
    if not grid:
        return activations.mean(1, keepdim=True)
    if drawn is None:
        return activations.clone()
    n, positions, channels = activations.shape
    rows = drawn + torch.arange(0, n * positions, positions)[:, None]
    taken = activations.reshape(-1, channels).index_select(0, rows.flatten().to(activations.device))
    return taken.view(n, -1, channels)


def _take_columns(activations: Tensor, grid: Grid, drawn: Tensor | None) -> Tensor:
    """Make samples of (n, c, positions), channels outermost in memory then."""
    if not grid:
        return activations.mean(2, keepdim=True).permute(0, 2, 1)
    if drawn is None:
        taken = activations.transpose(0, 1).contiguous()
    else:
        n, channels, _ = activations.shape
        place = drawn.to(activations.device).expand(channels, -1, -1)
        taken = activations.new_empty(channels, n, drawn.shape[1])
        torch.gather(activations.transpose(0, 1), 2, place, out=taken)  # straight into its order, without a copy
    return taken.permute(1, 2, 0)


def pair_of(image: int, *, total: int) -> int:
    """Return the number of an image's pair: neighbours, and the last three together of an odd number of images.

    The images of a pair show the same positions, and are exchanged for the permutation null: what a position says
    without the image is then in it.
    """
    return min(image // 2, max(total // 2, 1) - 1)


def paired_cuts(images: int, count: int) -> list[int]:
    """Return where so many images are cut into `count` parts, at most one for each pair, that no pair is cut."""
    pairs = images // 2
    return [2 * -(-pairs * number // count) for number in range(count)] + [images]


def draw_positions(images: range, *, total: int, of: int, budget: int, seed: int) -> Tensor:
    """Draw `budget` of `of` positions without replacement for each image, int64 (images, budget), rising.

    The draw depends on `seed`, the image's pair among all the `total` images and the number of positions alone, so it
    is the same for both layers, for any batch size, and for every pair of layers of one size.
    """
    pairs = [pair_of(image, total=total) for image in images]
    drawn = {
        pair: np.random.default_rng([seed, pair]).choice(of, budget, replace=False) for pair in dict.fromkeys(pairs)
    }
    return torch.from_numpy(np.sort(np.stack([drawn[pair] for pair in pairs]), axis=1))


def draw_channels(width: int, *, budget: int, draw: int, seed: int) -> Tensor:
    """Draw `budget` of `width` channels, int64 rising, all where there are no more; alike for layers of one width."""
    if width <= budget:
        return torch.arange(width)
    chosen = np.random.default_rng([seed, draw, width]).choice(width, budget, replace=False)
    return torch.from_numpy(np.sort(chosen))
