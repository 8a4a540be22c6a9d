"""Orthogonal Procrustes distance between two layers (Schoenemann 1966; Ding, Denain, Steinhardt 2021)."""

from transfusion_core.science.similarity.decompositions import nuclear_norm
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair


def procrustes(moments: Moments | Pair) -> float | None:
    """Measure what is left of ||X - Y R||_F^2 after the best rotation R, both layers at unit Frobenius norm.

    Ding et al. 2021 (2108.01661): 2 - 2 nuclear_norm(Sxy) / (norm_F(X) norm_F(Y)). A distance in [0, 2], 0
    for a copy, 2 for layers without any correlation; the other measures are similarities. Invariant to
    orthogonal maps, to one common scale and to a shift of either layer; not to invertible maps. With p != q
    the narrower layer counts as padded with dead neurons. None when a layer does not vary
    (`moments.constant_reason`). Moments without scatters are enough.
    """
    pair = moments.pair
    if pair.constant_reason is not None:
        return None
    return 2 - 2 * min(1.0, nuclear_norm(pair.cross))
