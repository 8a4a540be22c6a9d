"""Two layers on the same samples, centred: what every measure reads, with what several measures share worked out
once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from transfusion_core.science.similarity.decompositions import left_singular, matmul, singular_values
from transfusion_core.science.similarity.directions import Directions, Side
from transfusion_core.science.similarity.sums import Product
from transfusion_core.science.similarity.threads import each, once

_Value = TypeVar("_Value")


@dataclass(frozen=True, eq=False)
class Canonical:
    """Canonical variates between two sets of k and l kept directions, whose inner products are `between` (k, l).

    `values` (m,), m = min(k, l), are the correlations in [0, 1], falling. `fewer` (m, m): the variates in the smaller
    set, the first where they are equal; orthonormal.
    """

    between: Tensor
    values: Tensor
    fewer: Tensor

    @once
    def x(self) -> Tensor:
        """Return the variates (k, m) in the directions of the first layer."""
        return self.fewer if self._x_has_fewer else self._others(self.between)

    @once
    def y(self) -> Tensor:
        """Return the variates (l, m) in the directions of the second layer."""
        return self._others(self.between.T) if self._x_has_fewer else self.fewer

    @property
    def _x_has_fewer(self) -> bool:
        return self.between.shape[0] <= self.between.shape[1]

    def _others(self, between: Tensor) -> Tensor:
        """Return what the correlation makes of `fewer`, of unit length where it is not 0."""
        others = matmul(between, self.fewer)
        lengths: Tensor = others.norm(dim=0)
        return others / lengths.clamp_min(torch.finfo(torch.float64).tiny)


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
    def coherence(self) -> Tensor:
        """Return the inner products (kept x, kept y) of every direction above rounding with the other layer's."""
        return coherence(self, *self.each(lambda side: side.standardised))

    @once
    def canonical(self) -> Canonical:
        """Correlate every direction above rounding, as CCA and PWCCA do."""
        return canonical(self.coherence)

    @once
    def variates(self) -> tuple[Tensor, Tensor]:
        """Return a (p, m), b (q, m): the columns of X a and Y b, of centred samples, are the canonical variates."""
        of_x, of_y = self.x.standardised.whitening, self.y.standardised.whitening
        return matmul(of_x, self.canonical.x), matmul(of_y, self.canonical.y)

    def each(self, work: Callable[[Side], _Value]) -> list[_Value]:
        """Work something out of both layers, each on a thread where that pays."""
        # A decomposition goes over its matrix many times.
        return each(work, (self.x, self.y), numbers=0 if self.between.xy.is_cuda else 4 * self.p * self.q)

    def swapped(self) -> "Pair":
        """Return the same pair, the other layer first."""
        return Pair(self.y, self.x, self.between.swapped())

    def leading_values(self, variance: float) -> Tensor:
        """Correlate the leading directions that hold the share `variance`, as SVCCA does: values alone, falling.

        Where few directions are left out, what they share is taken out of `coherence`, instead of the many made.
        """
        dropped_x, dropped_y = self.each(lambda side: side.dropped(variance))
        if dropped_x is None or dropped_y is None:
            between = coherence(self, *self.each(lambda side: side.leading(variance)))
        else:
            between = self.coherence - matmul(dropped_x, matmul(dropped_x.T, self.coherence))
            between -= matmul(matmul(between, dropped_y), dropped_y.T)
        count = min(self.each(lambda side: side.leading_count(variance)))
        return singular_values(between, count).clamp_max(1)


def coherence(pair: Pair, of_x: Directions, of_y: Directions) -> Tensor:
    """Return the inner products of the two orthonormal sets of directions, (kept x, kept y)."""
    return of_y.of(of_x.of(pair.between.xy).T).T


def canonical(between: Tensor) -> Canonical:
    """Decompose the inner products (k, l) of two orthonormal sets of directions."""
    values, fewer = left_singular(between if between.shape[0] <= between.shape[1] else between.T)
    return Canonical(between, values.clamp_max(1), fewer)
