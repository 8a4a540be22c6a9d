"""Movement of single filters of a convolution, for conv1 above all, whose filters can also be looked at."""

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
