"""How far a similarity would move with other images of the same kind: intervals over images, from shards of them.

A measure is a smooth function of the sums over samples, and the sums are sums over shards. To first order a shard's
influence on the value is the inner product of the measure's gradient with the shard's own sums (the infinitesimal
jackknife: Jaeckel 1972, Efron 1982). The spread of the influences, whose sum is zero, gives the standard error of the
value over draws of images, and Student's t with one degree of freedom less than shards gives the interval. It is
what a bootstrap over shards tends to, without a thousand decompositions, and without its bias: a bootstrap sample
repeats images, and correlations of repeated samples are higher. It covers what the measure would be on average for
as many other images, which is also what its nulls are about.

Limits: where the value is at its bound (a copy) the gradient vanishes and so does the interval. Where many canonical
correlations are noise, sampling orders them, which first order does not know: `gradients` allows for it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from transfusion_core.science.similarity.decompositions import matmul, singular_values
from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.gradients import GRADIENTS, Gradient
from transfusion_core.science.similarity.pair import Pair, coherence
from transfusion_core.science.similarity.sums import Product

LEVEL = 0.95
BOUNDS: dict[str, tuple[float, float]] = {"cka_debiased": (-1.0, 1.0), "procrustes": (0.0, 2.0)}
"""Between which values a measure lies; [0, 1] for the others."""
_CUTS = 8


@dataclass(frozen=True, eq=False)
class ShardSums:
    """One shard's share in the sums of a pair, about the means of all shards."""

    n: int
    x: Product
    between: Product
    y: Product


class Spread:
    """How the values of some measures of one pair spread over the shards, which are added one by one."""

    def __init__(self, pair: Pair, measures: Sequence[str], *, variance: float) -> None:
        """Every measure must have a value; `variance` is the share that SVCCA keeps."""
        self._pair, self._sizes = pair, list[int]()
        self._gradients = {name: GRADIENTS[name](pair, variance) for name in measures}
        self._along: dict[str, list[float]] = {name: [] for name in measures}
        self._cuts = [_Cut(side, variance) for side in (pair.x, pair.y)] if "svcca" in measures else []

    def add(self, shard: ShardSums) -> None:
        """Add the next shard."""
        self._sizes.append(shard.n)
        for name, gradient in self._gradients.items():
            self._along[name].append(along(gradient, shard))
        for cut, own in zip(self._cuts, (shard.x, shard.y), strict=False):
            cut.add(own.xy)

    def influences(self, measure: str) -> Tensor:
        """Return how much each shard moves the value, (shards,); they add up to zero."""
        moved = torch.tensor(self._along[measure], dtype=torch.float64)
        sizes = torch.tensor(self._sizes, dtype=torch.float64)
        return moved - moved.sum() * sizes / sizes.sum()

    def other_values(self, measure: str) -> list[float]:
        """Return the values at numbers of directions that other images would as well have led SVCCA to keep.

        The number changes in steps, which no gradient knows: where the share of variance at a cut is nearer to the
        one asked for than sampling tells apart, the next number is as good. None of any other measure.
        """
        if measure != "svcca":
            return []
        (low_x, high_x), (low_y, high_y) = (cut.plausible() for cut in self._cuts)
        between = coherence(self._pair, self._pair.x.first(high_x), self._pair.y.first(high_y))
        corners = sorted({(k, m) for k in (low_x, high_x) for m in (low_y, high_y)})
        return [float(singular_values(between[:k, :m], min(k, m)).clamp_max(1).mean()) for k, m in corners]


def interval(
    value: float, moved: Tensor, *, bounds: tuple[float, float], jumps: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float]:
    """Return the interval of level `LEVEL` of a value from its shards' influences (s,), s > 1, within its bounds.

    `jumps`: how far down and up the value goes where it is not smooth, see `Spread.other_values`.
    """
    reach = _reach(moved)
    return max(bounds[0], value + jumps[0] - reach), min(bounds[1], value + jumps[1] + reach)


def along(gradient: Gradient, shard: ShardSums) -> float:
    """Return the derivative of a measure by the weight of a shard."""
    matrices = _inner(gradient.xx, shard.x.xy) + _inner(gradient.yy, shard.y.xy)
    matrices += _inner(gradient.xy, shard.between.xy)
    lengths = gradient.kk * shard.x.kl + gradient.kl * shard.between.kl + gradient.ll * shard.y.kl
    return float(matrices + lengths)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of the products of two matrices' entries."""
    return torch.dot(a.flatten(), b.flatten())


def student_t(freedom: int, level: float = LEVEL) -> float:
    """Return the two-sided quantile of Student's t for `freedom` >= 4, right to 0.005.

    Abramowitz and Stegun 1964, 26.7.5: the expansion about the normal quantile.
    """
    z, v = NormalDist().inv_cdf((1 + level) / 2), freedom
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return float(z + sum(term / v**power for power, term in enumerate(terms, start=1)))


def _reach(moved: Tensor) -> float:
    """Return half the interval's length."""
    shards = len(moved)
    return student_t(shards - 1) * sqrt(shards / (shards - 1) * float(moved.square().sum()))


class _Cut:
    """Where SVCCA cuts one layer, and how the shares of variance around the cut move with the shards."""

    def __init__(self, side: Side, variance: float) -> None:
        values, vectors, real = side.principal
        self._found, self._variance, self._trace = side.leading_count(variance), variance, side.trace
        self._first, last = max(self._found - _CUTS, 0), min(self._found + _CUTS, int(real.sum()))
        self._inner = matmul(vectors[:, : self._first], vectors[:, : self._first].T)
        self._outer = vectors[:, self._first : last]
        self._shares = (values.cumsum(0) / values.sum())[self._first : last]
        self._moved: list[Tensor] = []

    def add(self, scatter: Tensor) -> None:
        """Add the next shard's scatter (p, p)."""
        leading = _inner(self._inner, scatter) + (self._outer * (scatter @ self._outer)).sum(0).cumsum(0)
        self._moved.append((leading - self._shares * scatter.trace()) / self._trace)

    def plausible(self) -> tuple[int, int]:
        """Return the fewest and the most directions whose share may be the first to reach the one asked for.

        No further than `_CUTS` from the number that is kept.
        """
        moved = torch.stack(self._moved)  # (shards, cuts); columns add up to 0
        reaches = torch.tensor([_reach(column) for column in moved.T], dtype=torch.float64)
        shares = self._shares.cpu()
        reached = (shares + reaches >= self._variance).nonzero().flatten().tolist()
        missed = (shares - reaches < self._variance).nonzero().flatten().tolist()
        fewest = self._first + min(reached, default=len(shares)) + 1
        most = self._first + min(max(missed, default=-1) + 1, len(shares) - 1) + 1
        return min(fewest, self._found), max(most, self._found)
