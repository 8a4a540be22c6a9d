"""How far a similarity would move with other images of the same kind: intervals over images, from shards of them.

A measure is a smooth function of the sums over samples, and the sums are sums over shards. To first order a shard's
influence on the value is the inner product of the measure's gradient with the shard's own sums (the infinitesimal
jackknife: Jaeckel 1972, Efron 1982). The spread of the influences, whose sum is zero, gives the standard error of the
value over draws of images, and Student's t with one degree of freedom less than shards gives the interval. It is
what a bootstrap over shards tends to, without a thousand decompositions, and without its bias: a bootstrap sample
repeats images, and correlations of repeated samples are higher. It covers what the measure would be on average for
as many other images, which is also what its nulls are about.

Limits: where the value is at its bound (a copy) the gradient vanishes and so does the interval. Where many canonical
correlations are noise, sampling orders them, which first order does not know: intervals of CCA are then too wide.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from transfusion_core.science.similarity.cka import linear_cka, unbiased_hsic
from transfusion_core.science.similarity.directions import Directions, Side
from transfusion_core.science.similarity.pair import Pair, coherence, singular_values
from transfusion_core.science.similarity.procrustes import procrustes
from transfusion_core.science.similarity.pwcca import projection_weights
from transfusion_core.science.similarity.regression import linear_regression
from transfusion_core.science.similarity.sums import Product

LEVEL = 0.95
_CUTS = 8


@dataclass(frozen=True, eq=False)
class Gradient:
    """Derivatives of a measure by a pair's sums: `xx` (p, p), `xy` (p, q), `yy` (q, q), and by `kk`, `kl`, `ll`."""

    xx: Tensor
    xy: Tensor
    yy: Tensor
    kk: float = 0.0
    kl: float = 0.0
    ll: float = 0.0

    def swapped(self) -> "Gradient":
        """Return the same gradient for the pair with the other layer first."""
        return Gradient(self.yy, self.xy.T, self.xx, self.ll, self.kl, self.kk)


@dataclass(frozen=True, eq=False)
class ShardSums:
    """One shard's share in the sums of a pair, about the means of all shards."""

    n: int
    x: Product
    between: Product
    y: Product


def influences(gradient: Gradient, shards: Sequence[ShardSums]) -> Tensor:
    """Return how much each shard moves the value, (shards,); they add up to zero."""
    moved = torch.tensor([_along(gradient, shard) for shard in shards], dtype=torch.float64)
    sizes = torch.tensor([shard.n for shard in shards], dtype=torch.float64)
    return moved - moved.sum() * sizes / sizes.sum()


def interval(
    value: float, moved: Tensor, *, bounds: tuple[float, float], jumps: tuple[float, float] = (0.0, 0.0)
) -> tuple[float, float]:
    """Return the interval of level `LEVEL` of a value from its shards' influences (s,), s > 1, within its bounds.

    `jumps`: how far down and up the value goes where it is not smooth, see `other_cuts`.
    """
    reach = reach_of(moved)
    return max(bounds[0], value + jumps[0] - reach), min(bounds[1], value + jumps[1] + reach)


def reach_of(moved: Tensor) -> float:
    """Return half the interval's length."""
    shards = len(moved)
    return student_t(shards - 1) * sqrt(shards / (shards - 1) * float(moved.square().sum()))


def other_cuts(pair: Pair, variance: float, shards: Sequence[ShardSums]) -> list[float]:
    """Return SVCCA's values at numbers of directions that other images would as well have led to keep.

    The number changes in steps, which no gradient knows: where the share of variance at a cut is nearer to the one
    asked for than sampling tells apart, the next number is as good.
    """
    low_x, high_x = _plausible(pair.x, variance, [shard.x.xy for shard in shards])
    low_y, high_y = _plausible(pair.y, variance, [shard.y.xy for shard in shards])
    between = coherence(pair, pair.x.first(high_x), pair.y.first(high_y))
    corners = {(k, m) for k in (low_x, high_x) for m in (low_y, high_y)}
    return [float(singular_values(between[:k, :m]).clamp_max(1).mean()) for k, m in sorted(corners)]


def _plausible(side: Side, variance: float, scatters: Sequence[Tensor]) -> tuple[int, int]:
    """Return the fewest and the most leading directions whose share of variance may be the first to reach `variance`.

    `scatters` (p, p) are the shards'. No further than `_CUTS` from the number that is kept.
    """
    values, vectors, real = side.principal
    found = side.leading(variance).count
    first, last = max(found - _CUTS, 0), min(found + _CUTS, int(real.sum()))
    inner, outer = vectors[:, :first] @ vectors[:, :first].T, vectors[:, first:last]
    leading = torch.stack(
        [(inner * scatter).sum() + (outer * (scatter @ outer)).sum(0).cumsum(0) for scatter in scatters]
    )
    traces = torch.stack([scatter.trace() for scatter in scatters])[:, None]
    shares = (values.cumsum(0) / values.sum())[first:last]  # with so many directions more than `first`
    moved = (leading - shares * traces) / side.trace  # how each shard moves each share; the columns add up to 0
    reaches = [reach_of(moved[:, index]) for index in range(last - first)]
    reached = [index for index in range(last - first) if float(shares[index]) + reaches[index] >= variance]
    missed = [index for index in range(last - first) if float(shares[index]) - reaches[index] < variance]
    low = first + min(reached, default=found - first - 1) + 1
    high = first + min(max(missed, default=-1) + 1, last - first - 1) + 1
    return min(low, found), max(high, found)


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


def _along(gradient: Gradient, shard: ShardSums) -> float:
    matrices = (
        (gradient.xx * shard.x.xy).sum() + (gradient.xy * shard.between.xy).sum() + (gradient.yy * shard.y.xy).sum()
    )
    lengths = gradient.kk * shard.x.kl + gradient.kl * shard.between.kl + gradient.ll * shard.y.kl
    return float(matrices + lengths)


def _cca(pair: Pair, variance: float) -> Gradient:
    count = len(pair.canonical.values)
    weights = torch.full_like(pair.canonical.values, 1 / count)
    return _of_correlations(pair, weights)


def _pwcca(pair: Pair, variance: float) -> Gradient:
    """As CCA with other weights, which move too: they are sums over neurons of loadings that turn with the variates."""
    if pair.x.standardised.count > pair.y.standardised.count:
        return _pwcca(pair.swapped(), variance).swapped()
    weights = projection_weights(pair)
    correlations = pair.canonical.values
    fixed = _of_correlations(pair, weights / weights.sum())
    worth = (correlations - (weights @ correlations) / weights.sum()) / weights.sum()  # dvalue / dweight, (m,)
    a, b = pair.x.standardised.whitening @ pair.canonical.x, pair.y.standardised.whitening @ pair.canonical.y
    loadings = pair.x.standardised.loadings @ pair.canonical.x  # (p, m)
    signs = loadings.sign()
    # Variate i turns towards j by the off-diagonal element (j, i) of the perturbed eigenproblem, over this gap.
    gaps = correlations.square()[:, None] - correlations.square()[None, :]
    gaps = torch.where(gaps >= 0, 1.0, -1.0) * gaps.abs().clamp_min(0.01)
    turns = worth[:, None] * (signs.T @ loadings) / gaps
    turns.fill_diagonal_(0)
    both = turns + turns.T
    turning = a @ (turns.T * correlations.square()) @ a.T
    direct = (signs * worth) @ a.T
    return Gradient(
        xx=fixed.xx + (direct + direct.T - turning - turning.T) / 2 - (a * (worth * weights / 2)) @ a.T,
        xy=fixed.xy + a @ (both * correlations) @ b.T,
        yy=fixed.yy - (b * correlations) @ (both / 2) @ (b * correlations).T,
    )


def _of_correlations(pair: Pair, weights: Tensor) -> Gradient:
    """Differentiate sum_i w_i rho_i, where d rho = a^T dSxy b - rho (a^T dSxx a + b^T dSyy b) / 2 for unit Xa, Yb."""
    found = pair.canonical
    a, b = pair.x.standardised.whitening @ found.x, pair.y.standardised.whitening @ found.y  # (p, m), (q, m)
    half = -0.5 * weights * found.values
    return Gradient(xx=(a * half) @ a.T, xy=(a * weights) @ b.T, yy=(b * half) @ b.T)


def _svcca(pair: Pair, variance: float) -> Gradient:
    """As CCA among the kept directions, which turn with their layer's scatter."""
    found, of_x, of_y = pair.leading_canonical(variance), pair.x.leading(variance), pair.y.leading(variance)
    a, b = of_x.whitening @ found.x, of_y.whitening @ found.y
    weight = 1 / len(found.values)
    half = -0.5 * weight * found.values
    xy = weight * a @ b.T
    cross = pair.between.xy
    return Gradient(
        xx=(a * half) @ a.T + _turning(pair.x, of_x, cross @ xy.T),
        xy=xy,
        yy=(b * half) @ b.T + _turning(pair.y, of_y, cross.T @ xy),
    )


def _turning(side: Side, kept: Directions, pull: Tensor) -> Tensor:
    """Differentiate by the scatter what the kept directions V contribute by turning towards the others D.

    V_k turns by D_d (d^T dS v) / (lambda_k - lambda_d), and `pull` (p, p) = Sxy dvalue/dSxy^T is what a turn is worth.
    Gaps are held above a hundredth of the direction's own variance: closer directions than that change places
    freely from sample to sample, and no first order describes them.
    """
    values, vectors = side.principal.values * side.trace, side.principal.vectors
    v, d = vectors[:, : kept.count], vectors[:, kept.count :]
    gaps = values[: kept.count][None, :] - values[kept.count :][:, None]
    gaps = torch.maximum(gaps, 0.01 * values[: kept.count][None, :])
    turned = d @ ((d.T @ pull @ v) / gaps) @ v.T
    return (turned + turned.T) / 2


def _cka(pair: Pair, variance: float) -> Gradient:
    value, x, y = linear_cka(pair) or 0.0, pair.x.scatter, pair.y.scatter
    return Gradient(
        xx=-value * x / x.square().sum(),
        xy=2 * pair.between.xy / (x.norm() * y.norm()),
        yy=-value * y / y.square().sum(),
    )


def _cka_debiased(pair: Pair, variance: float) -> Gradient:
    """Differentiate h_xy / sqrt(h_xx h_yy), of layers at unit trace, where the traces count as constants."""
    n, hsic, value = pair.n, unbiased_hsic(pair), linear_cka(pair, debiased=True) or 0.0
    scale = sqrt(hsic.x * hsic.y)
    of_x, of_y = value / hsic.x / pair.x.trace**2, value / hsic.y / pair.y.trace**2
    across = 1 / (scale * pair.x.trace * pair.y.trace)
    both, lengths = 1 / ((n - 1) * (n - 2)), 1 + 2 / (n - 2)
    eye_x, eye_y = _identity(pair.x), _identity(pair.y)
    return Gradient(
        xx=-of_x * (pair.x.scatter + both * pair.x.trace * eye_x) + across * both * pair.y.trace * eye_x,
        xy=2 * across * pair.between.xy,
        yy=-of_y * (pair.y.scatter + both * pair.y.trace * eye_y) + across * both * pair.x.trace * eye_y,
        kk=float(of_x * lengths / 2),
        kl=float(-across * lengths),
        ll=float(of_y * lengths / 2),
    )


def _procrustes(pair: Pair, variance: float) -> Gradient:
    left, _, right = torch.linalg.svd(pair.cross, full_matrices=False)
    overlap = 1 - (procrustes(pair) or 0.0) / 2
    return Gradient(
        xx=overlap / pair.x.trace * _identity(pair.x),
        xy=-2 * left @ right / (pair.x.trace * pair.y.trace).sqrt(),
        yy=overlap / pair.y.trace * _identity(pair.y),
    )


def _regression(pair: Pair, variance: float) -> Gradient:
    """Differentiate tr(Sxy Syy^-1 Syx) / tr(Sxx)."""
    whitening, total = pair.y.standardised.whitening, pair.x.trace
    slopes = whitening @ (whitening.T @ pair.between.xy.T)  # (q, p)
    explained = linear_regression(pair).x_from_y or 0.0
    return Gradient(xx=-explained / total * _identity(pair.x), xy=2 * slopes.T / total, yy=-slopes @ slopes.T / total)


def _identity(side: Side) -> Tensor:
    return torch.eye(len(side.scatter)).to(side.scatter)


GRADIENTS: dict[str, Callable[[Pair, float], Gradient]] = {
    "cca": _cca,
    "svcca": _svcca,
    "pwcca": _pwcca,
    "cka": _cka,
    "cka_debiased": _cka_debiased,
    "procrustes": _procrustes,
    "regression": _regression,
}
"""The gradient of each measure; the second argument is the share of variance that SVCCA keeps. A value must exist."""

BOUNDS: dict[str, tuple[float, float]] = {"cka_debiased": (-1.0, 1.0), "procrustes": (0.0, 2.0)}
"""Between which values a measure lies; [0, 1] for the others."""
