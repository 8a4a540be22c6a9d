"""The derivative of each measure by the sums that it is worked out of, as far as sampling lets it be seen.

Canonical correlations of noise are not smooth: a mean of them moves less from sample to sample than its derivative at
one sample says. Where they may be noise the derivative is taken for less (`_steadiness`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from transfusion_core.science.similarity.cka import linear_cka, unbiased_hsic
from transfusion_core.science.similarity.decompositions import matmul
from transfusion_core.science.similarity.directions import Directions, Side
from transfusion_core.science.similarity.pair import Pair, canonical, coherence
from transfusion_core.science.similarity.procrustes import procrustes
from transfusion_core.science.similarity.regression import linear_regression

_NOTHING = 1e-7
"""Share of the largest singular value below which directions are rounding's, and what they add is less still."""
_CLOSE = 3.0
"""Squared correlations that are closer than this over the root of n change places from sample to sample."""


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


def _cca(pair: Pair, variance: float) -> Gradient:
    """Differentiate mean(rho), where d rho = a^T dSxy b - rho (a^T dSxx a + b^T dSyy b) / 2 for unit Xa, Yb."""
    (a, b), correlations = pair.variates, pair.canonical.values
    share = _steadiness(pair, correlations, pair.x.standardised, pair.y.standardised) / len(correlations)
    half = -0.5 * share * correlations
    return Gradient(xx=matmul(a * half, a.T), xy=matmul(a * share, b.T), yy=matmul(b * half, b.T))


def _pwcca(pair: Pair, variance: float) -> Gradient:
    """As CCA with other weights, which move too: they are sums over neurons of loadings that turn with the variates."""
    if pair.x.standardised.count > pair.y.standardised.count:
        return _pwcca(pair.swapped(), variance).swapped()
    (a, b), correlations = pair.variates, pair.canonical.values
    loadings = pair.x.standardised.on_neurons(pair.canonical.x)  # (p, m)
    signs, weights = loadings.sign(), loadings.abs().sum(0)
    share = weights / weights.sum()
    steady = share * _steadiness(pair, correlations, pair.x.standardised, pair.y.standardised)
    half = -0.5 * steady * correlations
    worth = (correlations - share @ correlations) / weights.sum()  # dvalue / dweight, (m,)
    # Variate i turns towards j by the off-diagonal element (j, i) of the perturbed eigenproblem, over this gap.
    gaps = correlations.square()[:, None] - correlations.square()[None, :]
    gaps = torch.where(gaps >= 0, 1.0, -1.0) * gaps.abs().clamp_min(_CLOSE / sqrt(pair.n))
    turns = worth[:, None] * matmul(signs.T, loadings) / gaps
    turns.fill_diagonal_(0)
    both = turns + turns.T
    of_a = torch.diag(half - worth * weights / 2) - turns.T * correlations.square()
    of_b = torch.diag(half) - correlations[:, None] * both * correlations / 2
    xx = matmul(matmul(a, of_a) + signs * worth, a.T)
    return Gradient(
        xx=(xx + xx.T) / 2,
        xy=matmul(a, torch.diag(steady) + both * correlations, b.T),
        yy=matmul(b, of_b, b.T),
    )


def _svcca(pair: Pair, variance: float) -> Gradient:
    """As CCA among the kept directions, which turn with their layer's scatter."""
    of_x, of_y = pair.each(lambda side: side.leading(variance))
    found = canonical(coherence(pair, of_x, of_y))
    a, b = matmul(of_x.whitening, found.x), matmul(of_y.whitening, found.y)
    weight = _steadiness(pair, found.values, of_x, of_y) / len(found.values)
    half = -0.5 * weight * found.values
    xy = matmul(weight * a, b.T)
    cross = pair.between.xy
    return Gradient(
        xx=matmul(a * half, a.T) + _turning(pair.x, of_x, matmul(cross, xy.T)),
        xy=xy,
        yy=matmul(b * half, b.T) + _turning(pair.y, of_y, matmul(cross.T, xy)),
    )


def _steadiness(pair: Pair, correlations: Tensor, of_x: Directions, of_y: Directions) -> Tensor:
    """Return what share of its derivative each correlation (m,) moves by, from sample to sample.

    The i-th stands beside noise of the directions that the larger ones leave. Far above that its share is 1; by how
    much the squared correlation r of a signal moves the one that is seen falls to 0 at the edge of the noise: that is
    r (1 - c + c/r) (1 - d + d/r) for c n and d n directions (Bao, Hu, Pan and Zhou 2019). The sum of singular values
    of noise alone has 0.4 (square) to 0.5 (one side far longer) of the variance that the derivative gives it; 0.05 more
    is taken, by simulations of few neurons, which that limit does not describe. All of this is of many samples that
    are independent: where directions fill much of them, and some are alike, values move nearly as the derivative says.
    """
    gone = torch.arange(len(correlations)).to(correlations)
    c, d = ((directions.count - gone) / pair.n for directions in (of_x, of_y))
    squared, free, noise = correlations.square(), (1 - c) * (1 - d), c * d
    above = (squared - c * (1 - d) - d * (1 - c)).clamp_min(0)  # free r + noise / r
    inside = (above.square() - 4 * free * noise).clamp_min(0).sqrt()  # free r - noise / r
    signal = ((above + inside) / (2 * free)).clamp_min(noise)  # r, where `inside` is not 0
    seen = (inside.square() / (signal * squared.clamp_min(noise))).clamp_max(1)
    share = 0.55 - 0.1 * torch.minimum(c, d) / torch.maximum(c, d)
    doubt = min(1.0, 1.5 * (of_x.count + of_y.count) / pair.n)
    return 1 - (1 - doubt) * (1 - (seen + (1 - seen) * share).sqrt())


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
    turned = matmul(d, matmul(d.T, pull, v) / gaps, v.T)
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
    found = canonical(pair.cross)
    count = int((found.values > _NOTHING * found.values[0]).sum())
    overlap = 1 - (procrustes(pair) or 0.0) / 2
    return Gradient(
        xx=overlap / pair.x.trace * _identity(pair.x),
        xy=matmul(found.x[:, :count], found.y[:, :count].T) * (-2 / (pair.x.trace * pair.y.trace).sqrt()),
        yy=overlap / pair.y.trace * _identity(pair.y),
    )


def _regression(pair: Pair, variance: float) -> Gradient:
    """Differentiate tr(Sxy Syy^-1 Syx) / tr(Sxx)."""
    of_y, total = pair.y.standardised, pair.x.trace
    slopes = matmul(of_y.whitening, of_y.of(pair.between.xy.T))  # (q, p)
    explained = linear_regression(pair).x_from_y or 0.0
    return Gradient(
        xx=-explained / total * _identity(pair.x), xy=2 * slopes.T / total, yy=matmul(slopes, slopes.T) / -total
    )


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
