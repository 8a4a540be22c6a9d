"""One layer's directions: which of them exist at all, and what maps samples to unit, uncorrelated coordinates.

Every cut in this file is about rounding, apart from the share of variance that SVCCA asks for.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.similarity.decompositions import Eigen, inverse_cholesky, lower_matmul, matmul
from transfusion_core.science.similarity.sums import Product
from transfusion_core.science.similarity.threads import once

_EPSILON = torch.finfo(torch.float64).eps
_TINY = torch.finfo(torch.float64).tiny


@dataclass(frozen=True, eq=False)
class Directions:
    """k kept directions of a layer of p neurons; both tensors (p, k), float64.

    `whitening`: the columns of X @ whitening are orthonormal. `loadings`: the inner products of neurons with
    those columns, X^T (X @ whitening). `triangular`: `loadings` and the transpose of `whitening` are lower triangles.
    """

    whitening: Tensor
    loadings: Tensor
    triangular: bool = False

    @property
    def count(self) -> int:
        """Return k."""
        return self.whitening.shape[1]

    def of(self, cross: Tensor) -> Tensor:
        """Return the inner products (k, l) of the directions with that with which neurons have `cross` (p, l)."""
        return lower_matmul(self.whitening.T, cross) if self.triangular else matmul(self.whitening.T, cross)

    def on_neurons(self, variates: Tensor) -> Tensor:
        """Return the inner products (p, m) of neurons with what is made of the directions by `variates` (k, m)."""
        return lower_matmul(self.loadings, variates) if self.triangular else matmul(self.loadings, variates)


class Spectrum(NamedTuple):
    """A layer's principal directions at unit total variance: `values` (p,) falling, `vectors` (p, p), and which of
    them rise above rounding, bool (p,).
    """

    values: Tensor
    vectors: Tensor
    real: Tensor


@dataclass(frozen=True, eq=False)
class Side:
    """One layer of n centred samples: `own` holds X^T X, where it was summed; `squares` (p,) its diagonal.

    `mean` (p,), `resolution` = epsilon of the input dtype; see products.py for the `gemm_rounding` of the sums.
    """

    n: int
    own: Product | None
    squares: Tensor
    mean: Tensor
    resolution: float
    gemm_rounding: float = 0.0

    @property
    def scatter(self) -> Tensor:
        """Return X^T X, (p, p)."""
        return self._known.xy

    @property
    def kk(self) -> Tensor:
        """Return the sum of the fourth powers of the samples' lengths."""
        return self._known.kl

    @property
    def _known(self) -> Product:
        if self.own is None:
            raise ValueError("expected moments with the layers' own scatters, got some for Procrustes alone")
        return self.own

    @once
    def trace(self) -> Tensor:
        """Return the centred sum of squares of the layer."""
        return self.squares.sum()

    @once
    def alive(self) -> Tensor:
        """Tell the neurons that vary by more than the rounding of their own mean, bool (p,).

        With coarser products that of its origin, a float32 number, is squared with their rounding.
        """
        of_origin = self.gemm_rounding * torch.finfo(torch.float32).eps ** 2
        return self.squares > self.n * (self.resolution**2 + of_origin) * self.mean.square()

    @once
    def constant(self) -> bool:
        """True when no neuron varies over the samples."""
        return not bool(self.alive.any())

    @once
    def norm(self) -> Tensor:
        """Return norm_F(Sxx) at unit trace."""
        norm: Tensor = torch.linalg.norm(self.scatter / self.trace)
        return norm

    @once
    def rounding(self) -> Tensor:
        """Return the sum of squares (p,) that rounding x to its dtype may have put into each neuron.

        A rounded number is off by at most half an epsilon of its size, so n epsilon^2 mean(x^2) is a
        generous bound.
        """
        return self.resolution**2 * (self.squares + self.n * self.mean.square())

    @once
    def unit_scale(self) -> Tensor:
        """Return what divides each neuron to unit sum of squares, (p,); 0 for a dead neuron, which removes it."""
        return torch.where(self.alive, self.squares.clamp_min(_TINY).rsqrt(), 0.0)

    @once
    def standardised(self) -> Directions:
        """Keep every direction above rounding, after each neuron is brought to unit variance.

        CCA does not depend on the scale of a neuron, so a badly scaled one must not look like a missing one.
        """
        found = self._by_cholesky()
        if found is not None:
            return found
        values, vectors, real = self._spectrum(self.unit_scale, Eigen(self._scaled(self.unit_scale)))
        return self._directions(self.unit_scale, values[real], vectors[:, real])

    @once
    def common_scale(self) -> Tensor:
        """Return what divides the layer to unit total variance, (p,); 0 for a dead neuron."""
        return torch.where(self.alive, self.trace.clamp_min(_TINY).rsqrt(), 0.0)

    @once
    def eigen(self) -> Eigen:
        """Decompose the layer as it is, apart from one common scale."""
        return Eigen(self._scaled(self.common_scale))

    @once
    def principal(self) -> Spectrum:
        """Return all principal directions."""
        return self._spectrum(self.common_scale, self.eigen)

    def leading_count(self, variance: float) -> int:
        """Count the fewest leading principal directions that hold the share `variance` (0, 1] of the raw variance.

        Raises ValueError for another share.
        """
        if not 0 < variance <= 1:
            raise ValueError(f"the share of variance to keep lies in (0, 1], got {variance}")
        values = self.eigen.values.clamp_min(0)
        leading = _leading_share(values, variance)
        count = int(leading.sum())
        if count < self.n and bool((values[:count] > self._floor(self.common_scale, values)).all()):
            return count
        return int((self.principal.real & leading).sum())

    def leading(self, variance: float) -> Directions:
        """Keep the directions that `leading_count` counts."""
        return self.first(self.leading_count(variance))

    def first(self, count: int) -> Directions:
        """Keep so many leading principal directions."""
        return self._directions(self.common_scale, self.eigen.values[:count], self.eigen.vectors(0, count))

    def dropped(self, variance: float) -> Tensor | None:
        """Return an orthonormal basis (p, d) of what `leading` leaves out, in coordinates of `standardised`.

        None where that is no shorter way to what is left than `leading`, or not as exact.
        """
        count, values = self.leading_count(variance), self.eigen.values
        if count < len(values) and not self.eigen.few(len(values) - count):
            return None
        # A direction's coordinates are off by epsilon times the largest variance over its own.
        if not bool(values[-1] > 1e-6 * values[0]) or self.standardised.count < len(values):
            return None
        vectors = self.eigen.vectors(count, len(values))
        return matmul(self.standardised.loadings.T, vectors / (self.trace * values[count:]).sqrt())

    def _by_cholesky(self) -> Directions | None:
        """Whiten by the inverse Cholesky factor L of the correlations, where that proves that no direction is missing.

        The smallest eigenvalue is at least 1 / norm_F(L^-1)^2, so a bound above rounding is a proof, at a fraction
        of an eigendecomposition's time. None where there is no proof, which says nothing of the rank.
        """
        width = len(self.squares)
        if not bool(self.alive.all()) or self.n - 1 < width:
            return None
        found = inverse_cholesky(self._scaled(self.unit_scale))
        if found is None:
            return None
        factor, inverse = found
        trace = inverse.new_full((1,), width)  # of the correlations, which bounds their largest eigenvalue
        if not bool(1 / inverse.square().sum() > self._floor(self.unit_scale, trace)):
            return None
        return Directions(self.unit_scale[:, None] * inverse.T, factor / self.unit_scale[:, None], triangular=True)

    def _spectrum(self, scale: Tensor, eigen: Eigen) -> Spectrum:
        """Tell the directions of X diag(scale)."""
        values, vectors = eigen.all
        rounding = vectors.square().T @ (scale.square() * self.rounding)
        centred = torch.arange(len(scale), device=values.device) < self.n - 1  # centred samples span no more
        return Spectrum(values.clamp_min(0), vectors, (values > self._floor(scale, values, rounding)) & centred)

    def _scaled(self, scale: Tensor) -> Tensor:
        return scale[:, None] * self.scatter * scale

    def _floor(self, scale: Tensor, eigenvalues: Tensor, rounding: Tensor | None = None) -> Tensor:
        """Return what is rounding in eigenvalues of the scaled scatter, whose largest is the first of `eigenvalues`.

        `rounding`: what that of the inputs may have put into each; otherwise the most that it may in any.
        """
        if rounding is None:
            rounding = (scale.square() * self.rounding).max()
        # Forming p x p moments in float64 and decomposing them moves eigenvalues by a few p epsilon of the largest.
        formed = 10 * len(scale) * _EPSILON * float(eigenvalues[0].clamp_min(0))
        return rounding.clamp_min(formed) + self._multiplied(scale)

    def _multiplied(self, scale: Tensor) -> Tensor:
        """Return what rounding in the multiplication may have put into an eigenvalue of the scaled scatter.

        Entries that are off independently by e have a spectral norm of about 2 e sqrt(p) (Wigner); twice that is safe.
        """
        largest: Tensor = (scale.square() * self.squares).max()
        return largest * float(4 * len(scale) ** 0.5 * self.gemm_rounding)

    def _directions(self, scale: Tensor, values: Tensor, basis: Tensor) -> Directions:
        roots = values.sqrt()
        unscale = torch.where(scale > 0, 1 / scale.clamp_min(_TINY), 0.0)
        return Directions(scale[:, None] * basis / roots, unscale[:, None] * basis * roots)


def _leading_share(eigenvalues: Tensor, variance: float) -> Tensor:
    """Mark the shortest prefix whose sum reaches the share, with slack for the sum's own rounding."""
    before = eigenvalues.cumsum(0) - eigenvalues
    return before < variance * eigenvalues.sum() * (1 - 1e-14)
