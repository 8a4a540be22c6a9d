"""Projection weighted canonical correlation analysis (Morcos, Raghu, Bengio 2018)."""

from torch import Tensor

from transfusion_core.science.similarity.cca import CanonicalCorrelations, Kept, nothing_kept
from transfusion_core.science.similarity.guard import require_more_samples_than_neurons
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair


def pwcca(moments: Moments | Pair) -> CanonicalCorrelations:
    """Correlate two layers, each canonical correlation weighted by how much of the reference layer it
    accounts for.

    PWCCA, Morcos et al. 2018 (1806.05759): mean = sum_i alpha_i rho_i / sum_i alpha_i with alpha_i = sum_j
    |<h_i, x_j>| over the centred neurons x_j of the reference layer and unit canonical variates h_i. The
    reference is the layer with fewer kept directions, the first one when they are equal, so the measure is
    not symmetric there. Invariant to any invertible affine map of the other layer; of the reference layer
    only to shifts, one common scale, and the order and sign of neurons: the weights are sums over its
    neurons. Where several correlations are equal their variates, and so their weights, are not unique, and
    neither is the value.

    Raises `TooFewSamples` when n <= max(p, q).
    """
    pair = moments.pair
    require_more_samples_than_neurons(pair.n, pair.p, pair.q)
    kept = Kept(*pair.each(lambda side: side.standardised.count))
    if min(kept) == 0:
        return nothing_kept(pair, kept)
    values, weights = pair.canonical.values.cpu(), projection_weights(pair).cpu()
    # Rounded, the weighted mean of equal values can be one digit above them: 1 would no longer be the most.
    mean = min(float(values.max()), float(weights @ values / weights.sum()))
    return CanonicalCorrelations(values, mean, kept)


def projection_weights(pair: Pair) -> Tensor:
    """Return alpha_i = sum_j |<h_i, x_j>| (m,) of the canonical variates over the reference layer's neurons."""
    found, of_x, of_y = pair.canonical, pair.x.standardised, pair.y.standardised
    x_is_reference = of_x.count <= of_y.count
    on_neurons = of_x.on_neurons(found.x) if x_is_reference else of_y.on_neurons(found.y)
    return on_neurons.abs().sum(0)
