"""Dense linear algebra: numpy's on one of our own threads, torch's where several threads may work on one matrix.

numpy's library has threads of its own, which spin for some 20 milliseconds after their work on cores that torch needs.
Where a decomposition takes a second that is nothing, and its threads take half of what torch's take.
"""

from functools import reduce

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor

from transfusion_core.science.similarity.products import TORCH_IS_FASTER

_WIDE = 1536
"""Rows of a matrix from which numpy's library decomposes faster on its threads: 1.1 s against 2.1 s at 2048."""


def eigh(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (p,), rising, and eigenvectors (p, p) of a symmetric matrix."""
    if _by_torch(symmetric) and (symmetric.is_cuda or TORCH_IS_FASTER or len(symmetric) < _WIDE):
        found = torch.linalg.eigh(symmetric)
        return found.eigenvalues, found.eigenvectors
    values, vectors = np.linalg.eigh(symmetric.numpy())
    return torch.from_numpy(values), torch.from_numpy(vectors)


def inverse_cholesky(symmetric: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the lower Cholesky factor L (p, p) and its inverse, None where the matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(symmetric)
    if bool(failed):
        return None
    if _by_torch(symmetric):
        eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        return factor, torch.linalg.solve_triangular(factor, eye, upper=False)
    upper = factor.numpy().T
    (trtri,) = get_lapack_funcs(("trtri",), (upper,))
    inverse, _ = trtri(upper, lower=0)
    return factor, torch.from_numpy(inverse.T)


def matmul(*factors: Tensor) -> Tensor:
    """Multiply matrices, from the left."""
    if _by_torch(factors[0]):
        return reduce(torch.matmul, factors)
    return torch.from_numpy(reduce(np.matmul, [factor.numpy() for factor in factors]))


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix, falling, in the least time that keeps ten digits of each.

    The roots of the eigenvalues of the smaller Gram matrix are off by epsilon / (2 value) of the largest. Where the
    smallest is below 1e-4 of it, that is no longer nothing, and the decomposition of the matrix itself is paid for.
    """
    squares = _gram_eigenvalues(matrix)
    if bool(squares[-1] > 1e-8 * squares[0]):
        return torch.sqrt(squares)
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


def nuclear_norm(matrix: Tensor) -> float:
    """Return the sum of the singular values of a matrix, to 1e-8 of itself, in the least time.

    A small singular value need not be known to its last digit for that: see `singular_values`.
    """
    squares = _gram_eigenvalues(matrix)
    if bool(squares[-1] > 0):
        values = torch.sqrt(squares)
        # The largest squares are off by some 30 epsilon of the largest, the small ones, which count here, by far less.
        rounding = 4 * torch.finfo(values.dtype).eps * squares[0]
        if bool((rounding / values).sum() < 2e-9 * values.sum()):
            return float(values.sum())
    return float(torch.linalg.svdvals(matrix).sum())


def _gram_eigenvalues(matrix: Tensor) -> Tensor:
    """Return the eigenvalues of the smaller Gram matrix, falling."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    gram = matmul(wide, wide.T)
    found = torch.linalg.eigvalsh(gram) if _by_torch(gram) else torch.from_numpy(np.linalg.eigvalsh(gram.numpy()))
    return found.flip(0)


def _by_torch(matrix: Tensor) -> bool:
    return matrix.is_cuda or TORCH_IS_FASTER or torch.get_num_threads() > 1
