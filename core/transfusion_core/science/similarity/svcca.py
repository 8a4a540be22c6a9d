"""Singular vector canonical correlation analysis (Raghu, Gilmer, Yosinski, Sohl-Dickstein 2017)."""

from transfusion_core.science.similarity.cca import CanonicalCorrelations, Kept, nothing_kept, plain_mean
from transfusion_core.science.similarity.guard import require_free_samples
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair


def svcca(moments: Moments | Pair, variance: float = 0.99) -> CanonicalCorrelations:
    """Correlate the leading principal directions that hold the share `variance` of each layer's variance.

    SVCCA, Raghu et al. 2017 (1706.05806). The share is of the variance (squared singular values) about the
    mean; the mean correlation is over the smaller of `kept`. Invariant to orthogonal maps, to one common
    scale and to a shift of either layer. Not invariant to invertible maps or to scaling single neurons,
    which change what is leading.

    Works with n <= p. Raises `TooFewSamples` when the kept directions of a layer fill all n - 1 dimensions
    of the centred samples, where every correlation is 1; ValueError when `variance` is outside (0, 1].
    """
    pair = moments.pair
    kept = Kept(*pair.each(lambda side: side.leading_count(variance)))
    if min(kept) == 0:
        return nothing_kept(pair, kept)
    require_free_samples(pair.n, *kept)
    return plain_mean(pair.leading_values(variance), kept)
