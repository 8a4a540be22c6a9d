"""Small dense linear algebra, by whichever library is the faster one: numpy's on a CPU, torch's on an accelerator."""

from functools import reduce

import numpy as np
import torch
from scipy.linalg import get_lapack_funcs
from torch import Tensor


def eigh(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Return eigenvalues (p,), rising, and eigenvectors (p, p) of a symmetric matrix."""
    if symmetric.is_cuda:
        found = torch.linalg.eigh(symmetric)
        return found.eigenvalues, found.eigenvectors
    values, vectors = np.linalg.eigh(symmetric.numpy())
    return torch.from_numpy(values), torch.from_numpy(vectors)


def inverse_cholesky(symmetric: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the lower Cholesky factor L (p, p) and its inverse, None where the matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(symmetric)
    if bool(failed):
        return None
    if symmetric.is_cuda:
        eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        return factor, torch.linalg.solve_triangular(factor, eye, upper=False)
    upper = factor.numpy().T
    (trtri,) = get_lapack_funcs(("trtri",), (upper,))
    inverse, _ = trtri(upper, lower=0)
    return factor, torch.from_numpy(inverse.T)


def matmul(*factors: Tensor) -> Tensor:
    """Multiply matrices, from the left."""
    if factors[0].is_cuda:
        return reduce(torch.matmul, factors)
    return torch.from_numpy(reduce(np.matmul, [factor.numpy() for factor in factors]))


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix, falling, in the least time that keeps ten digits of each.

    The roots of the eigenvalues of the smaller Gram matrix are off by epsilon / (2 value) of the largest. Where the
    smallest is below 1e-4 of it, that is no longer nothing, and the decomposition of the matrix itself is paid for.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    gram = matmul(wide, wide.T)
    squares = (torch.linalg.eigvalsh(gram) if gram.is_cuda else _eigvalsh(gram)).flip(0)
    if bool(squares[-1] > 1e-8 * squares[0]):
        return torch.sqrt(squares)
    values: Tensor = torch.linalg.svdvals(matrix)
    return values


def _eigvalsh(symmetric: Tensor) -> Tensor:
    return torch.from_numpy(np.linalg.eigvalsh(symmetric.numpy()))
