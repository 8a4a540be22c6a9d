"""Centred kernel alignment with linear kernels (Kornblith, Norouzi, Lee, Hinton 2019), plain and debiased."""

from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.similarity.lengths import Scatter
from transfusion_core.science.similarity.moments import Moments

# Below this share of its own terms an unbiased HSIC is their rounding: a few hundred float64 operations deep.
_ROUNDING = 256 * torch.finfo(torch.float64).eps


def linear_cka(moments: Moments, debiased: bool = False) -> float | None:
    """Align two layers: norm_F(Sxy)^2 / (norm_F(Sxx) norm_F(Syy)), in [0, 1].

    Kornblith et al. 2019 (1905.00414). Invariant to orthogonal maps, to one common scale and to a shift of
    either layer. Not invariant to invertible maps: directions count by their variance. Biased upwards when n
    is small against p and q: i.i.d. noise then aligns.

    `debiased=True` uses the unbiased HSIC of Song et al. 2012 in all three places (Nguyen et al. 2020,
    2010.15327), whose expectation for independent layers is 0. It lies in [-1, 1]; small negative values are
    what independence looks like.

    None where `cka_reason` gives a reason: a layer that does not vary and, for the debiased value, n < 4 or
    a layer in which no two different samples are alike or unlike.
    """
    if cka_reason(moments, debiased) is not None:
        return None
    if debiased:
        x, y, between = _unbiased_hsic(moments)
        return max(-1.0, min(1.0, between / sqrt(x * y)))
    scatter = _unit_trace(moments)
    return min(1.0, float(scatter.xy.square().sum() / (scatter.xx.norm() * scatter.yy.norm())))


def cka_reason(moments: Moments, debiased: bool = False) -> str | None:
    """Say why `linear_cka` has no value, None when it has."""
    if moments.constant_reason is not None or not debiased:
        return moments.constant_reason
    if moments.n < 4:
        return f"the unbiased HSIC needs at least 4 samples, there are {moments.n}"
    x, y, _ = _unbiased_hsic(moments)
    if min(x, y) <= _ROUNDING:
        return "the unbiased HSIC of a layer with itself is zero: its different samples share nothing"
    return None


class _Hsic(NamedTuple):
    """Unbiased HSIC of x with itself, of y with itself, and of x with y, up to the common factor 1 / (n (n -
    3)).
    """

    x: float
    y: float
    between: float


def _unbiased_hsic(moments: Moments) -> _Hsic:
    """Evaluate HSIC_1 of Song et al. 2012 (JMLR 13, eq. 5) on layers scaled to trace 1.

    HSIC_1 sums over Gram matrices without diagonals: tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2)
    1'KL1. For centred samples the rows of a full Gram matrix sum to 0, so without its diagonal k they sum to
    -k, and everything follows from norm_F(Sxy)^2, the traces, and the sums of k l.
    """
    n, scatter = moments.n, _unit_trace(moments)
    x, y = moments.sxx.trace(), moments.syy.trace()

    def hsic(cross: Tensor, products: Tensor) -> float:
        return float(cross.square().sum() + 1 / ((n - 1) * (n - 2)) - products * (1 + 2 / (n - 2)))

    return _Hsic(
        hsic(scatter.xx, moments.lengths.kk / x / x),
        hsic(scatter.yy, moments.lengths.ll / y / y),
        hsic(scatter.xy, moments.lengths.kl / x / y),
    )


def _unit_trace(moments: Moments) -> Scatter:
    """Scale both layers to unit Frobenius norm, so that squares of huge or tiny activations stay in range."""
    x, y = moments.sxx.trace(), moments.syy.trace()
    return Scatter(moments.n, moments.sxx / x, moments.sxy / (x.sqrt() * y.sqrt()), moments.syy / y)
