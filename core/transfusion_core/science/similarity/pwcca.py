"""Projection weighted canonical correlation analysis (Morcos, Raghu, Bengio 2018)."""

import torch
from torch import Tensor

from transfusion_core.science.similarity.cca import (
    CanonicalCorrelations,
    Kept,
    coherence,
    nothing_kept,
    unit_interval,
)
from transfusion_core.science.similarity.directions import Directions
from transfusion_core.science.similarity.guard import require_more_samples_than_neurons
from transfusion_core.science.similarity.moments import Moments


def pwcca(moments: Moments) -> CanonicalCorrelations:
    """Correlate two layers, each canonical correlation weighted by how much of the reference layer it
    accounts for.

    PWCCA, Morcos et al. 2018 (1806.05759): mean = sum_i alpha_i rho_i / sum_i alpha_i with alpha_i = sum_j
    |<h_i, x_j>| over the centred neurons x_j of the reference layer and unit canonical variates h_i. The
    reference is the layer with fewer kept directions, the first one when they are equal, so the measure is
    not symmetric there. Invariant to any invertible affine map of the other layer; of the reference layer
    only to shifts, one common scale, and the order and sign of neurons: the weights are sums over its
    neurons.

    Raises `TooFewSamples` when n <= max(p, q).
    """
    require_more_samples_than_neurons(moments.n, moments.p, moments.q)
    of_x, of_y = moments.side_x.standardised, moments.side_y.standardised
    kept = Kept(of_x.count, of_y.count)
    if min(kept) == 0:
        return nothing_kept(moments, kept)
    between = coherence(moments, of_x, of_y)
    reference, between = (of_x, between) if kept.x <= kept.y else (of_y, between.T)
    variates, values, _ = torch.linalg.svd(between, full_matrices=False)
    values, weights = unit_interval(values), projection_weights(reference, variates).cpu()
    return CanonicalCorrelations(values, float(weights @ values / weights.sum()), kept)


def projection_weights(reference: Directions, variates: Tensor) -> Tensor:
    """Return alpha_i = sum_j |<h_i, x_j>| (k,) for the variates (k, k) in the reference's own directions."""
    return (reference.loadings @ variates).abs().sum(0)
