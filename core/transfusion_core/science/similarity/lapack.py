"""Steps of decompositions, symmetric, singular and Cholesky's, that numpy and scipy offer only as a whole or under
Python's lock: see blas.py, which reaches its routines in the same way.

Matrices are float64. LAPACK counts columns first; a symmetric matrix is the same either way.
"""

from ctypes import byref, c_double, c_int
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.cython_lapack
from numpy.typing import NDArray

from transfusion_core.science.similarity.blas import integer, letter, routine

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

_BLOCK, _TABLE = 64, 65 * 64  # rows that LAPACK transforms at once at most, and room for what it makes of them


class Tridiagonal(NamedTuple):
    """A symmetric matrix (p, p) as Q T Q^T: T by its `diagonal` (p,) and `beside` it (p - 1,), Q by what made it."""

    diagonal: Vector
    beside: Vector
    reflectors: Matrix
    scales: Vector


def tridiagonal(symmetric: Matrix) -> Tridiagonal:
    """Reduce a symmetric matrix (p, p)."""
    p = len(symmetric)
    reflectors, work = _rows(p, p), np.empty(_BLOCK * p)
    reflectors[:] = symmetric
    diagonal, beside, scales = np.empty(p), np.empty(max(p - 1, 1)), np.empty(max(p - 1, 1))
    _call("dsytrd", letter("L"), p, reflectors, _lead(reflectors), diagonal, beside, scales, work, len(work))
    return Tridiagonal(diagonal, beside[: p - 1], reflectors, scales)


def eigenvalues(reduced: Tridiagonal) -> Vector:
    """Return the eigenvalues (p,), rising."""
    values, beside = reduced.diagonal.copy(), _one_longer(reduced.beside)
    _call("dsterf", len(values), values, beside)
    return values


def eigenvectors(reduced: Tridiagonal) -> tuple[Vector, Matrix]:
    """Return the eigenvalues (p,), rising, and the eigenvectors of T (p, p), one a row."""
    p = len(reduced.diagonal)
    values, beside, vectors = reduced.diagonal.copy(), _one_longer(reduced.beside), _rows(p, p)
    work, whole = np.empty(1 + 4 * p + p * p), np.empty(3 + 5 * p, dtype=np.intc)
    _call("dstevd", letter("V"), p, values, beside, vectors, _lead(vectors), work, len(work), whole, len(whole))
    return values, vectors


def some_eigenvectors(reduced: Tridiagonal, first: int, last: int) -> Matrix:
    """Return the eigenvectors of T numbered `first` to `last` - 1, one a row, in the order of rising eigenvalues.

    In O(p) each (relatively robust representations: Dhillon, Parlett 2004), which is some ten times what one among all
    of them takes.
    """
    p, count = len(reduced.diagonal), last - first
    diagonal, beside = reduced.diagonal.copy(), _one_longer(reduced.beside)
    values, vectors, work = np.empty(p), _rows(count, p), np.empty(18 * p)
    support, whole = np.empty(2 * count, dtype=np.intc), np.empty(10 * p, dtype=np.intc)
    _call(
        "dstemr", letter("V"), letter("I"), p, diagonal, beside, c_double(), c_double(), first + 1, last, c_int(),
        values, vectors, _lead(vectors), count, support, c_int(1), work, len(work), whole, len(whole),
    )  # fmt: skip
    return vectors


def turn_back(reduced: Tridiagonal, vectors: Matrix) -> Matrix:
    """Return those eigenvectors of the matrix that are these of T, one a row (k, p)."""
    (k, p), reflectors = vectors.shape, reduced.reflectors
    turned, work = _rows(k, p), np.empty(_BLOCK * k + _TABLE)
    turned[:] = vectors
    _call(
        "dormtr", letter("L"), letter("L"), letter("N"), p, k, reflectors, _lead(reflectors), reduced.scales,
        turned, _lead(turned), work, len(work),
    )  # fmt: skip
    return turned


def singular_values(matrix: Matrix) -> Vector:
    """Return the singular values (k,), falling, of a matrix (m, n), k = min(m, n).

    By its bidiagonal form and dqds (Parlett, Marques 2000), in half the time of the driver routines, which reduce rows
    that begin a power of two apart as they are.
    """
    m, n = matrix.shape
    reduced, k = _rows(m, n), min(m, n)
    reduced[:] = matrix
    diagonal, beside, rows, columns = (np.empty(k) for _ in range(4))
    work = np.empty(max(_BLOCK * (m + n), 4 * k))
    _call("dgebrd", n, m, reduced, _lead(reduced), diagonal, beside, rows, columns, work, len(work))
    _call("dlasq1", k, diagonal, beside, work)
    return diagonal


def cholesky(symmetric: Matrix) -> bool:
    """Put the lower Cholesky factor in the lower triangle of a matrix, rows first, in place; False where there is none.

    The upper triangle is left as it was.
    """
    try:
        _call("dpotrf", letter("U"), len(symmetric), symmetric, len(symmetric))
    except np.linalg.LinAlgError:
        return False
    return True


def invert_lower(lower: Matrix) -> None:
    """Invert the lower triangle of a matrix, rows first, in place; nothing on the diagonal may be 0."""
    _call("dtrtri", letter("U"), letter("N"), len(lower), lower, len(lower))


def _rows(count: int, length: int) -> Matrix:
    """Take room for rows that do not begin a power of two apart, where they would push each other out of the cache.

    Turning 512 vectors back takes half as long again otherwise.
    """
    return np.empty((max(count, 1), length + 8))[:count, :length]  # of no rows numpy would forget how far apart


def _lead(rows: Matrix) -> int:
    return rows.strides[0] // rows.itemsize


def _one_longer(beside: Vector) -> Vector:
    """A copy with a place more, which some routines use."""
    return np.append(beside, 0.0)


def _call(name: str, *arguments: Any) -> None:
    """Call a routine by reference. Raises LinAlgError where it says that it failed."""
    info = c_int()
    _routine(name, len(arguments) + 1)(*map(_reference, arguments), byref(info))
    if info.value:
        raise np.linalg.LinAlgError(f"{name} failed: {info.value}")


def _reference(argument: Any) -> Any:
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data
    if isinstance(argument, int):
        return integer(argument)
    return byref(argument) if isinstance(argument, c_int | c_double) else argument


def _routine(name: str, arguments: int) -> Any:
    return routine(scipy.linalg.cython_lapack, name, arguments)
