"""Centred kernel alignment with linear kernels (Kornblith, Norouzi, Lee, Hinton 2019), plain and debiased."""

from math import sqrt
from typing import NamedTuple

import torch

from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair

# Below this share of its own terms an unbiased HSIC is their rounding: a few hundred float64 operations deep.
_ROUNDING = 256 * torch.finfo(torch.float64).eps


def linear_cka(moments: Moments | Pair, debiased: bool = False) -> float | None:
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
    pair = moments.pair
    if cka_reason(pair, debiased) is not None:
        return None
    if debiased:
        hsic = unbiased_hsic(pair)
        return max(-1.0, min(1.0, hsic.between / sqrt(hsic.x * hsic.y)))
    return min(1.0, float(pair.cross.square().sum() / (pair.x.norm * pair.y.norm)))


def cka_reason(moments: Moments | Pair, debiased: bool = False) -> str | None:
    """Say why `linear_cka` has no value, None when it has."""
    pair = moments.pair
    if pair.constant_reason is not None or not debiased:
        return pair.constant_reason
    if pair.n < 4:
        return f"the unbiased HSIC needs at least 4 samples, there are {pair.n}"
    hsic = unbiased_hsic(pair)
    if min(hsic.x, hsic.y) <= _ROUNDING:
        return "the unbiased HSIC of a layer with itself is zero: its different samples share nothing"
    return None


class Hsic(NamedTuple):
    """Unbiased HSIC of x with itself, of y with itself, and of x with y, up to the common factor 1 / (n (n -
    3)).
    """

    x: float
    y: float
    between: float


def unbiased_hsic(pair: Pair) -> Hsic:
    """Evaluate HSIC_1 of Song et al. 2012 (JMLR 13, eq. 5) on layers scaled to trace 1.

    HSIC_1 sums over Gram matrices without diagonals: tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2)
    1'KL1. For centred samples the rows of a full Gram matrix sum to 0, so without its diagonal k they sum to
    -k, and everything follows from norm_F(Sxy)^2, the traces, and the sums of k l.
    """
    n, x, y = pair.n, pair.x.trace, pair.y.trace

    def hsic(squared_norm: torch.Tensor, products: torch.Tensor) -> float:
        return float(squared_norm + 1 / ((n - 1) * (n - 2)) - products * (1 + 2 / (n - 2)))

    return Hsic(
        hsic(pair.x.norm.square(), pair.x.kk / x / x),
        hsic(pair.y.norm.square(), pair.y.kk / y / y),
        hsic(pair.cross.square().sum(), pair.between.kl / x / y),
    )
