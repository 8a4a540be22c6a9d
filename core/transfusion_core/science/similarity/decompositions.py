"""Dense linear algebra, on a CPU by the routines of numpy's and scipy's library, on an accelerator by torch's.

A symmetric matrix is brought to tridiagonal form in a quarter of the time of its eigenvectors, and all its eigenvalues,
or few of its eigenvectors, cost little more: so that is kept, and the rest made as it is asked for.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import reduce
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.science.similarity import blas, lapack
from transfusion_core.science.similarity.products import TORCH_IS_FASTER
from transfusion_core.science.similarity.threads import MANY, each, once, one_blas_thread

Matrix = NDArray[np.float64]

_WIDE = 1536
"""Rows of a matrix for which threads of the library's own pay."""
_WIDEST = 2048
"""Rows of a matrix from which on torch has eigenvalues alone faster, where it is faster at all."""
_STRIPES = 4
"""Stripes by which a product with a triangle leaves out zeros, at least: one for each thread."""
_OFTEN = 4
"""How often, for `MANY`, each number of a matrix counts that is multiplied or decomposed."""
_FEW = 10
"""A tenth of the eigenvectors, one by one, takes as long as all of them together."""
_SQUARES = 1e-8
"""Share of the largest eigenvalue above which the root of another keeps ten digits: it is off by epsilon / (2 root)."""


class Eigen:
    """Eigenvalues of a symmetric matrix (p, p), and its eigenvectors as far as they are asked for."""

    def __init__(self, symmetric: Tensor) -> None:
        """Reduce the matrix, float64, of which the upper triangle is read."""
        self._matrix = symmetric
        self._reduced: lapack.Tridiagonal | None = None
        self._decomposed: tuple[Matrix, Matrix] | None = None
        if not symmetric.is_cuda:
            with _threads(symmetric):
                self._reduced = lapack.tridiagonal(symmetric.numpy())

    @once
    def values(self) -> Tensor:
        """Return the eigenvalues (p,), falling."""
        if self._reduced is None:
            return self.all[0]
        return torch.from_numpy(lapack.eigenvalues(self._reduced)).flip(0)

    @once
    def all(self) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues (p,), falling, and the eigenvectors (p, p), as columns."""
        if self._reduced is None:
            values, vectors = torch.linalg.eigh(self._matrix, UPLO="U")
            return values.flip(0), vectors.flip(1)
        values, vectors = self._of_reduced(self._reduced)
        return torch.from_numpy(values).flip(0), self._turned(self._reduced, vectors)

    def vectors(self, first: int, last: int) -> Tensor:
        """Return the eigenvectors (p, last - first) of the eigenvalues numbered `first` to `last` - 1, falling."""
        if self._reduced is None or "all" in vars(self):
            return self.all[1][:, first:last]
        rising = len(self.values) - last, len(self.values) - first
        if self.few(last - first):
            try:
                return self._turned(self._reduced, lapack.some_eigenvectors(self._reduced, *rising))
            except np.linalg.LinAlgError:  # which it says of rare spectra that all together are found of
                pass
        return self._turned(self._reduced, self._of_reduced(self._reduced)[1][slice(*rising)])

    def few(self, count: int) -> bool:
        """Whether so many eigenvectors are made faster without the others."""
        return 0 < count * _FEW <= len(self.values)

    def _of_reduced(self, reduced: lapack.Tridiagonal) -> tuple[Matrix, Matrix]:
        """Return the eigenvalues (p,), rising, and the eigenvectors, one a row, of the tridiagonal matrix."""
        if self._decomposed is None:
            with _threads(self._matrix):
                self._decomposed = lapack.eigenvectors(reduced)
        return self._decomposed

    def _turned(self, reduced: lapack.Tridiagonal, rows: Matrix) -> Tensor:
        """Make eigenvectors (p, k) of the matrix, values falling, of those of the tridiagonal one."""
        with _threads(self._matrix):
            turned = lapack.turn_back(reduced, rows)
        return torch.from_numpy(turned).flip(0).T


def inverse_cholesky(symmetric: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the lower Cholesky factor L (p, p) and its inverse, None where the matrix is not positive definite."""
    if symmetric.is_cuda:
        factor, failed = torch.linalg.cholesky_ex(symmetric)
        eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        return None if bool(failed) else (factor, torch.linalg.solve_triangular(factor, eye, upper=False))
    lower = symmetric.numpy().copy()
    with _threads(symmetric):
        if not lapack.cholesky(lower):
            return None
        factor = np.tril(lower)
        inverse = factor.copy()
        lapack.invert_lower(inverse)
    return torch.from_numpy(factor), torch.from_numpy(inverse)


def matmul(*factors: Tensor) -> Tensor:
    """Multiply matrices, from the left."""
    if factors[0].is_cuda:
        return reduce(torch.matmul, factors)
    first, *rest = factors
    made = first.new_empty(len(first), rest[-1].shape[1])
    times = _times(made)

    def multiply(rows: slice) -> None:
        times(reduce(times, rest[:-1], first[rows]), rest[-1], out=made[rows])

    _by_rows(multiply, made, torch.get_num_threads())
    return made


def lower_matmul(lower: Tensor, matrix: Tensor) -> Tensor:
    """Multiply a lower triangular matrix (k, k) with another (k, l), in 5/8 of the work or less."""
    if lower.is_cuda:
        return lower @ matrix
    made = lower.new_empty(len(lower), matrix.shape[1])
    times = _times(made)

    def multiply(rows: slice) -> None:
        times(lower[rows, : rows.stop], matrix[: rows.stop], out=made[rows])

    _by_rows(multiply, made, max(_STRIPES, torch.get_num_threads()))
    return made


def _by_rows(multiply: Callable[[slice], None], made: Tensor, count: int) -> None:
    """Make a product by so many stripes of its rows, the last one first, each on a thread where that pays."""
    bounds = [len(made) * number // count for number in range(count + 1)]
    with one_blas_thread():
        each(multiply, [slice(*found) for found in pairwise(bounds)][::-1], numbers=_OFTEN * made.numel())


def _times(made: Tensor) -> Callable[..., Tensor]:
    """Return what multiplies two matrices, into `out` if it is given: for small ones torch's own threads would spin."""
    return torch.matmul if TORCH_IS_FASTER and _OFTEN * made.numel() >= MANY else _times_by_numpy


def _times_by_numpy(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    return torch.from_numpy(np.matmul(a.numpy(), b.numpy(), out=None if out is None else out.numpy()))


def gram(matrix: Tensor) -> Tensor:
    """Return the inner products of a matrix's rows: of them the upper triangle, which is what `Eigen` reads."""
    if matrix.is_cuda:
        return matrix @ matrix.T
    squares = np.zeros((len(matrix), len(matrix)))
    with _threads(matrix):
        blas.add_square(squares, matrix.numpy().T, upper=True)
    return torch.from_numpy(squares)


def left_singular(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the singular values (k,), falling, of a matrix (k, l) with k <= l, and its left singular vectors (k, k).

    The eigenvectors of the Gram matrix take half the time of a singular value decomposition.
    """
    squares, vectors = Eigen(gram(matrix)).all
    if bool(squares[-1] > _SQUARES * squares[0]):
        return squares.sqrt(), vectors
    # The eigenvalues have lost the digits of small values; the lengths of what the vectors pick out have not.
    lengths = matmul(matrix.T, vectors).norm(dim=0)
    order = lengths.argsort(descending=True)
    return lengths[order], vectors[:, order]


def singular_values(matrix: Tensor, count: int) -> Tensor:
    """Return the `count` largest singular values of a matrix, falling, in the least time that keeps ten digits of each.

    Where the roots of the eigenvalues of the smaller Gram matrix do not, the matrix itself is decomposed.
    """
    squares = _gram_eigenvalues(matrix)[:count]
    if count and bool(squares[-1] > _SQUARES * squares[0]):
        return torch.sqrt(squares)
    return _singular_values(matrix)[:count]


def nuclear_norm(matrix: Tensor) -> float:
    """Return the sum of the singular values of a matrix, to 1e-8 of itself, in the least time.

    A small singular value need not be known to its last digit for that: see `singular_values`.
    """
    squares = _gram_eigenvalues(matrix)
    # The largest squares are off by some 30 epsilon of the largest, the small ones, which count here, by far less: over
    # spectra of many kinds all together were off by a sixteenth of what this allows them.
    rounding = 4 * torch.finfo(squares.dtype).eps * squares[0]
    if bool(squares[-1] > rounding):
        values = torch.sqrt(squares)
        off = rounding / (values + torch.sqrt(squares - rounding))
        if bool(off.sum() < 5e-9 * values.sum()):
            return float(values.sum())
    return float(_singular_values(matrix).sum())


def _singular_values(matrix: Tensor) -> Tensor:
    """Return all singular values of a matrix, falling, to epsilon of the largest."""
    if matrix.is_cuda:
        values: Tensor = torch.linalg.svdvals(matrix)
        return values
    with _threads(matrix):
        return torch.from_numpy(lapack.singular_values(matrix.numpy()))


def _gram_eigenvalues(matrix: Tensor) -> Tensor:
    """Return the eigenvalues of the smaller Gram matrix, falling."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    squares = gram(wide)
    if squares.is_cuda or (TORCH_IS_FASTER and len(squares) >= _WIDEST):
        values: Tensor = torch.linalg.eigvalsh(squares, UPLO="U")
        return values.flip(0)
    return Eigen(squares).values


def _threads(matrix: Tensor) -> AbstractContextManager[None]:
    return one_blas_thread(unless=max(matrix.shape) >= _WIDE)
