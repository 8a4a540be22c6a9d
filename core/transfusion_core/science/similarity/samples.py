"""From activations of two layers on the same images to two sample matrices with the same rows."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d


class SamplePair(NamedTuple):
    """Rows of `x` (samples, p) and `y` (samples, q) belong together, in the activations' dtypes."""

    x: Tensor
    y: Tensor


def channels_first(activations: Tensor) -> Tensor:
    """Turn (n, h, w, c), as Swin puts out, into (n, c, h, w). Raises ValueError on other numbers of axes."""
    if activations.ndim != 4:
        raise ValueError(f"channels last means (n, h, w, c), got {tuple(activations.shape)}")
    return activations.permute(0, 3, 1, 2)


def to_samples(a: Tensor, b: Tensor, *, positions_per_image: int, seed: int, first_image: int = 0) -> SamplePair:
    """Make sample matrices of two activations of the same n images, whose first is image `first_image` of
    the set.

    (n, c) is used as is. (n, c, h, w) gives every position as a sample, at most `positions_per_image` of an
    image, drawn at random; sizes that differ are first average-pooled to the smaller height and width. (n,
    tokens, c) gives tokens as positions. Numbers of positions that still differ (tokens against a grid, a
    grid against a vector) are averaged to one. The draw depends on `seed`, the image's index and the number
    of positions alone, so it is the same for both layers, for any batch size, and for every pair of layers
    of one size.

    The rows of one image are not independent samples. Raises ValueError on other shapes or on different n.
    """
    if len(a) != len(b):
        raise ValueError(f"activations of the same images expected, got {len(a)} and {len(b)} images")
    if positions_per_image < 1:
        raise ValueError(f"at least one position per image is needed, got {positions_per_image}")
    if a.ndim == b.ndim == 4 and a.shape[2:] != b.shape[2:]:
        size = (min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3]))
        a, b = adaptive_avg_pool2d(a, size), adaptive_avg_pool2d(b, size)
    x, y = _positions(a), _positions(b)  # (n, positions, channels)
    if x.shape[1] != y.shape[1]:
        x, y = x.mean(1, keepdim=True), y.mean(1, keepdim=True)
    if x.shape[1] > positions_per_image:
        drawn = draw_positions(
            range(first_image, first_image + len(x)), of=x.shape[1], budget=positions_per_image, seed=seed
        )
        x, y = _gather(x, drawn), _gather(y, drawn)
    return SamplePair(x.flatten(0, 1), y.flatten(0, 1))


def draw_positions(images: range, *, of: int, budget: int, seed: int) -> Tensor:
    """Draw `budget` of `of` positions without replacement for each image, int64 (images, budget), rising."""
    rows = [np.random.default_rng([seed, image]).choice(of, budget, replace=False) for image in images]
    return torch.from_numpy(np.sort(np.stack(rows), axis=1))


def _positions(activations: Tensor) -> Tensor:
    """Lay activations out as (n, positions, channels)."""
    if activations.ndim == 2:
        return activations[:, None, :]
    if activations.ndim == 3:
        return activations
    if activations.ndim == 4:
        return activations.flatten(2).transpose(1, 2)
    raise ValueError(f"expected (n, c), (n, tokens, c) or (n, c, h, w), got {tuple(activations.shape)}")


def _gather(positions: Tensor, drawn: Tensor) -> Tensor:
    image = torch.arange(len(positions), device=positions.device)[:, None]
    return positions[image, drawn.to(positions.device)]  # (n, budget, channels)
