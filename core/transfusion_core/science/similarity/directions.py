"""One layer's directions: which of them exist at all, and what maps samples to unit, uncorrelated
coordinates.

Every cut in this file is about rounding, apart from the share of variance that SVCCA asks for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class Directions:
    """k kept directions of a layer of p neurons, sorted by falling variance; both tensors (p, k), float64.

    `whitening`: the columns of X @ whitening are orthonormal. `loadings`: the inner products of neurons with
    those columns, X^T (X @ whitening).
    """

    whitening: Tensor
    loadings: Tensor

    @property
    def count(self) -> int:
        """Return k."""
        return self.whitening.shape[1]


@dataclass(frozen=True, eq=False)
class Side:
    """One layer: `scatter` (p, p) = X^T X of n centred samples, `mean` (p,), `resolution` = epsilon of the
    input dtype.
    """

    n: int
    scatter: Tensor
    mean: Tensor
    resolution: float

    @cached_property
    def squares(self) -> Tensor:
        """Return the centred sum of squares of each neuron, (p,)."""
        return self.scatter.diagonal()

    @cached_property
    def alive(self) -> Tensor:
        """Tell the neurons that vary by more than the rounding of their own mean, bool (p,)."""
        return self.squares > self.n * (self.resolution * self.mean).square()

    @property
    def constant(self) -> bool:
        """True when no neuron varies over the samples."""
        return not bool(self.alive.any())

    @cached_property
    def rounding(self) -> Tensor:
        """Return the sum of squares (p,) that rounding x to its dtype may have put into each neuron.

        A rounded number is off by at most half an epsilon of its size, so n epsilon^2 mean(x^2) is a
        generous bound.
        """
        return self.resolution**2 * (self.squares + self.n * self.mean.square())

    @cached_property
    def unit_scale(self) -> Tensor:
        """Return what divides each neuron to unit sum of squares, (p,); 0 for a dead neuron, which removes
        it.
        """
        return torch.where(self.alive, self.squares.clamp_min(torch.finfo(torch.float64).tiny).rsqrt(), 0.0)

    @cached_property
    def standardised(self) -> Directions:
        """Keep every direction above rounding, after each neuron is brought to unit variance.

        CCA does not depend on the scale of a neuron, so a badly scaled one must not look like a missing one.
        """
        return self._directions(self.unit_scale, _all_of)

    def leading(self, variance: float) -> Directions:
        """Keep the fewest leading principal directions that hold the share `variance` (0, 1] of the raw
        variance.
        """
        if not 0 < variance <= 1:
            raise ValueError(f"the share of variance to keep lies in (0, 1], got {variance}")
        common = self.squares.sum().clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
        scale = torch.where(self.alive, common, 0.0)
        return self._directions(scale, lambda eigenvalues: _leading_share(eigenvalues, variance))

    def _directions(self, scale: Tensor, choose: Callable[[Tensor], Tensor]) -> Directions:
        """Decompose X diag(scale): eigenvalues above rounding, of those the ones that `choose` marks."""
        scaled = scale[:, None] * self.scatter * scale
        eigenvalues, vectors = (each.flip(-1) for each in torch.linalg.eigh(scaled))  # falling
        rounding = vectors.square().T @ (scale.square() * self.rounding)
        # Forming p x p moments in float64 and decomposing them moves eigenvalues by a few p epsilon of the
        # largest.
        floor = rounding.clamp_min(10 * len(scale) * _EPSILON * float(eigenvalues[0].clamp_min(0)))
        kept = (eigenvalues > floor) & choose(eigenvalues.clamp_min(0))
        kept &= torch.arange(len(scale), device=kept.device) < self.n - 1  # centred samples span no more
        roots, basis = eigenvalues[kept].sqrt(), vectors[:, kept]
        unscale = torch.where(scale > 0, 1 / scale.clamp_min(torch.finfo(torch.float64).tiny), 0.0)
        return Directions(scale[:, None] * basis / roots, unscale[:, None] * basis * roots)


def _all_of(eigenvalues: Tensor) -> Tensor:
    return torch.ones_like(eigenvalues, dtype=torch.bool)


def _leading_share(eigenvalues: Tensor, variance: float) -> Tensor:
    """Mark the shortest prefix whose sum reaches the share, with slack for the sum's own rounding."""
    before = eigenvalues.cumsum(0) - eigenvalues
    return before < variance * eigenvalues.sum() * (1 - 1e-14)
