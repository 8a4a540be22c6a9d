"""Movement of single filters of a convolution, for conv1 above all, whose filters can also be looked at."""

import math

import torch
from torch import Tensor

from transfusion_core.science.movement.weights import flat_pair


def filter_correlations(before: Tensor, after: Tensor) -> list[float | None]:
    """Return the Pearson correlation in [-1, 1] of every filter with itself at another time, in filter order.

    Weights are (filters, channels, height, width) or any (filters, ...); correlated over all of a filter's
    weights about their mean. None for a filter that is flat, or holds NaN or infinity, at either time.
    Raises `MismatchedStates` on different shapes, ValueError on fewer than two axes.
    """
    if before.ndim < 2:
        raise ValueError(f"filters expected as (filters, ...), got {tuple(before.shape)}")
    start, end = flat_pair(before, after)
    pairs = zip(start.reshape(len(before), -1), end.reshape(len(after), -1), strict=True)
    return [_correlation(one, other) for one, other in pairs]


def _correlation(one: Tensor, other: Tensor) -> float | None:
    # Shifted by a first weight before the mean, so that a flat filter is exactly zero.
    one, other = one - one[0], other - other[0]
    one, other = one - one.mean(), other - other.mean()
    sizes = float(one.norm()), float(other.norm())
    if not all(0 < size < float("inf") for size in sizes):
        return None
    return float((one / sizes[0] @ (other / sizes[1])).clamp(-1, 1))


def filter_grid(weights: Tensor, *, scale: int = 4) -> Tensor:
    """Return the filters (n, channels, h, w) as one picture, uint8 (3, height, width), on white, near square.

    Three channels are its colours, any other number is averaged to grey; each filter is stretched to the whole range
    from black to white by itself, a flat one is grey, and every weight is `scale` pixels wide. NaN counts as zero.
    """
    if weights.ndim != 4:
        raise ValueError(f"filters expected as (n, channels, h, w), got {tuple(weights.shape)}")
    filters = weights.detach().cpu().float().nan_to_num(0)
    colours = filters if filters.shape[1] == 3 else filters.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    least, most = (each(colours, dim=(1, 2, 3), keepdim=True) for each in (torch.amin, torch.amax))
    stretched = torch.where(most > least, (colours - least) / (most - least), 0.5)
    pixels = (255 * stretched).round().to(torch.uint8).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    framed = torch.nn.functional.pad(pixels, (0, scale, 0, scale), value=255)
    columns = math.ceil(math.sqrt(len(framed)))
    blank = torch.full((-len(framed) % columns, *framed.shape[1:]), 255, dtype=torch.uint8)
    rows = torch.cat([framed, blank]).reshape(-1, columns, *framed.shape[1:])  # (rows, columns, 3, h, w)
    high, wide = rows.shape[0] * rows.shape[3], columns * rows.shape[4]
    return rows.permute(2, 0, 3, 1, 4).reshape(3, high, wide)
