"""Two layers on the same samples, centred: what every measure reads, with what several measures share worked out
once.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.similarity.decompositions import eigh, matmul, singular_values
from transfusion_core.science.similarity.directions import Directions, Side
from transfusion_core.science.similarity.sums import Product
from transfusion_core.science.similarity.threads import once


class Canonical(NamedTuple):
    """Canonical variates between two sets of k and l kept directions, m = min(k, l).

    `values` (m,) are the correlations in [0, 1], falling. `x` (k, m), `y` (l, m): the variates in the kept
    directions of each layer, where `x` is orthonormal if k <= l and `y` is otherwise; the other is what the
    correlation makes of it, of unit length where the correlation is not 0.
    """

    values: Tensor
    x: Tensor
    y: Tensor


@dataclass(frozen=True, eq=False)
class Pair:
    """Layers `x` (p neurons) and `y` (q), and the sums `between` them about their means."""

    x: Side
    y: Side
    between: Product

    @property
    def pair(self) -> "Pair":
        """Return itself: measures take either a `Moments` or a `Pair`."""
        return self

    @property
    def n(self) -> int:
        """Return the number of samples."""
        return self.x.n

    @property
    def p(self) -> int:
        """Return the neurons of the first layer."""
        return len(self.x.scatter)

    @property
    def q(self) -> int:
        """Return the neurons of the second layer."""
        return len(self.y.scatter)

    @once
    def constant_reason(self) -> str | None:
        """Say which layer does not vary over the samples, None when both do."""
        names = [name for name, side in (("first", self.x), ("second", self.y)) if side.constant]
        if not names:
            return None
        return f"the {' and the '.join(names)} layer does not vary over the {self.n} samples"

    @once
    def cross(self) -> Tensor:
        """Return Sxy (p, q) with both layers at unit Frobenius norm; neither may be constant."""
        return self.between.xy / (self.x.trace.sqrt() * self.y.trace.sqrt())

    @once
    def canonical(self) -> Canonical:
        """Correlate every direction above rounding, as CCA and PWCCA do."""
        return canonical(coherence(self, self.x.standardised, self.y.standardised))

    def swapped(self) -> "Pair":
        """Return the same pair, the other layer first."""
        return Pair(self.y, self.x, self.between.swapped())

    def leading_canonical(self, variance: float) -> Canonical:
        """Correlate the leading directions that hold the share `variance`, as SVCCA does."""
        return canonical(self._leading_coherence(variance))

    def leading_values(self, variance: float) -> Tensor:
        """Return the correlations of `leading_canonical` alone, falling, in half the time."""
        return singular_values(self._leading_coherence(variance)).clamp_max(1)

    def _leading_coherence(self, variance: float) -> Tensor:
        return coherence(self, self.x.leading(variance), self.y.leading(variance))


def coherence(pair: Pair, of_x: Directions, of_y: Directions) -> Tensor:
    """Return the inner products of the two orthonormal sets of directions, (kept x, kept y)."""
    return matmul(of_x.whitening.T, pair.between.xy, of_y.whitening)


def canonical(between: Tensor) -> Canonical:
    """Decompose the inner products C (k, l) of two orthonormal sets of directions.

    The eigenvectors U of the smaller of C C^T and C^T C take half the time of a singular value decomposition. Their
    eigenvalues would lose half the digits of small correlations; the lengths of C^T U do not.
    """
    if between.shape[0] > between.shape[1]:
        turned = canonical(between.T)
        return Canonical(turned.values, turned.y, turned.x)
    _, vectors = eigh(matmul(between, between.T))  # (k, k)
    others = matmul(between.T, vectors)  # (l, k)
    lengths = others.norm(dim=0)
    order = lengths.argsort(descending=True)
    others = others / lengths.clamp_min(torch.finfo(torch.float64).tiny)
    return Canonical(lengths[order].clamp_max(1), vectors[:, order], others[:, order])
