"""Canonical correlation analysis of two layers (Hotelling 1936), from their second moments."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from transfusion_core.science.similarity.guard import require_more_samples_than_neurons
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair


class Kept(NamedTuple):
    """How many directions of each layer took part."""

    x: int
    y: int


@dataclass(frozen=True, eq=False)
class CanonicalCorrelations:
    """The answer of `cca`, `svcca` and `pwcca`.

    `values`: canonical correlations in [0, 1], falling, float64 on the CPU, as many as the smaller of
    `kept`. `mean`: the measure's single number in [0, 1]; None with a `reason` when there is no direction to
    correlate.
    """

    values: Tensor
    mean: float | None
    kept: Kept
    reason: str | None = None

    @property
    def mean_squared(self) -> float | None:
        """Mean of the squared correlations (R^2_CCA of Kornblith et al. 2019), None when there are none."""
        return float(self.values.square().mean()) if len(self.values) else None


def cca(moments: Moments | Pair) -> CanonicalCorrelations:
    """Correlate two layers: singular values of Sxx^(-1/2) Sxy Syy^(-1/2); the mean is over min(p, q) of them.

    Hotelling 1936; for layers Raghu et al. 2017 (1706.05806). Invariant to any invertible affine map of
    either layer, hence to rotation, scale and shift of neurons. Not invariant to adding or removing
    directions, however small: a direction of tiny variance counts as much as the largest.

    Dead, constant, duplicated and dependent neurons leave fewer than p or q directions; those that exist are
    in `kept` and the mean is over the smaller count. Raises `TooFewSamples` when n <= max(p, q).
    """
    pair = moments.pair
    require_more_samples_than_neurons(pair.n, pair.p, pair.q)
    kept = Kept(*pair.each(lambda side: side.standardised.count))
    return nothing_kept(pair, kept) if min(kept) == 0 else plain_mean(pair.canonical.values, kept)


def plain_mean(values: Tensor, kept: Kept) -> CanonicalCorrelations:
    """Answer with the unweighted mean of the correlations."""
    values = values.cpu()
    return CanonicalCorrelations(values, float(values.mean()), kept)


def nothing_kept(pair: Pair, kept: Kept) -> CanonicalCorrelations:
    """Answer for layers of which one has no direction: no values, no mean, and why."""
    reason = pair.constant_reason or f"no direction rises above rounding over the {pair.n} samples"
    return CanonicalCorrelations(pair.x.mean.new_empty(0).cpu(), None, kept, reason)
