"""Canonical correlation analysis of two layers (Hotelling 1936), from their second moments."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.similarity.directions import Directions
from transfusion_core.science.similarity.guard import require_more_samples_than_neurons
from transfusion_core.science.similarity.moments import Moments


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


def cca(moments: Moments) -> CanonicalCorrelations:
    """Correlate two layers: singular values of Sxx^(-1/2) Sxy Syy^(-1/2); the mean is over min(p, q) of them.

    Hotelling 1936; for layers Raghu et al. 2017 (1706.05806). Invariant to any invertible affine map of
    either layer, hence to rotation, scale and shift of neurons. Not invariant to adding or removing
    directions, however small: a direction of tiny variance counts as much as the largest.

    Dead, constant, duplicated and dependent neurons leave fewer than p or q directions; those that exist are
    in `kept` and the mean is over the smaller count. Raises `TooFewSamples` when n <= max(p, q).
    """
    require_more_samples_than_neurons(moments.n, moments.p, moments.q)
    return correlations(moments, moments.side_x.standardised, moments.side_y.standardised)


def correlations(moments: Moments, of_x: Directions, of_y: Directions) -> CanonicalCorrelations:
    """Correlate the kept directions of both layers, with their plain mean."""
    kept = Kept(of_x.count, of_y.count)
    if min(kept) == 0:
        return nothing_kept(moments, kept)
    values = unit_interval(torch.linalg.svdvals(coherence(moments, of_x, of_y)))
    return CanonicalCorrelations(values, float(values.mean()), kept)


def coherence(moments: Moments, of_x: Directions, of_y: Directions) -> Tensor:
    """Return the inner products of the two orthonormal sets of directions, (kept x, kept y)."""
    return of_x.whitening.T @ moments.sxy @ of_y.whitening


def unit_interval(values: Tensor) -> Tensor:
    """Bring correlations to the CPU without the rounding that would lift one above 1."""
    return values.clamp(0, 1).cpu()


def nothing_kept(moments: Moments, kept: Kept) -> CanonicalCorrelations:
    """Answer for layers of which one has no direction: no values, no mean, and why."""
    reason = moments.constant_reason or f"no direction rises above rounding over the {moments.n} samples"
    return CanonicalCorrelations(torch.empty(0, dtype=torch.float64), None, kept, reason)
