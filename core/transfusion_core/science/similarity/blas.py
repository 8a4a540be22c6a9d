"""Products of samples that BLAS adds into a sum: numpy has none, and scipy's own functions of these names keep other
threads of Python waiting while they work. They are reached by the addresses that scipy publishes for Cython.
"""

import ctypes
from ctypes import byref, c_char, c_double, c_float, c_int, c_void_p
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import scipy.linalg.cython_blas
from numpy.typing import NDArray

Matrix = NDArray[np.float64 | np.float32]

_GEMM_ARGUMENTS, _SYRK_ARGUMENTS = 13, 10
_ONE = byref(c_double(1.0))
_ONE_IN_FLOAT32 = byref(c_float(1.0))


def add_product(total: Matrix, x: Matrix, y: Matrix) -> None:
    """Add x^T y to `total` (p, q), rows first in memory, for float64 samples x (n, p) and y (n, q) in either order."""
    # BLAS counts columns first, so what it sees is total^T, to which it adds y^T x.
    (y, y_turn, y_lead), (x, x_turn, x_lead) = _seen(y), _seen(x)
    (p, q), n = total.shape, len(x)
    turns = letter("T" if y_turn else "N"), letter("N" if x_turn else "T")
    _routine("dgemm", _GEMM_ARGUMENTS)(
        *turns, integer(q), integer(p), integer(n), _ONE, y.ctypes.data, y_lead, x.ctypes.data, x_lead,
        _ONE, total.ctypes.data, integer(q),
    )  # fmt: skip


def add_square(total: Matrix, x: Matrix, *, upper: bool = False) -> None:
    """Add x^T x to the lower, or the upper, triangle of `total` (p, p), in half the work: both float64 or both float32.

    See `add_product`.
    """
    x, turn, lead = _seen(x)
    p, n = integer(len(total)), integer(len(x))
    half, turned = letter("L" if upper else "U"), letter("T" if turn else "N")
    name, one = ("dsyrk", _ONE) if x.dtype == np.float64 else ("ssyrk", _ONE_IN_FLOAT32)
    _routine(name, _SYRK_ARGUMENTS)(half, turned, p, n, one, x.ctypes.data, lead, one, total.ctypes.data, p)


def _seen(samples: Matrix) -> tuple[Matrix, bool, Any]:
    """Return dense samples (n, p), whether BLAS sees them as they are and not transposed, and its leading dimension."""
    if samples.flags.f_contiguous:
        return samples, True, integer(max(len(samples), 1))
    samples = np.ascontiguousarray(samples)
    return samples, False, integer(samples.shape[1])


def _routine(name: str, arguments: int) -> Any:
    return routine(scipy.linalg.cython_blas, name, arguments)


def integer(number: int) -> Any:
    """Pass a whole number by reference."""
    return byref(c_int(number))


@cache
def letter(name: str) -> Any:
    """Pass one letter by reference."""
    return byref(c_char(name.encode()))


@cache
def routine(module: ModuleType, name: str, arguments: int) -> Any:
    """Return a routine of scipy's by its address; ctypes lets other threads of Python run while it works."""
    capsule = module.__pyx_capi__[name]
    read_name, read_address = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    read_name.restype, read_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    read_address.restype, read_address.argtypes = c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return ctypes.CFUNCTYPE(None, *[c_void_p] * arguments)(read_address(capsule, read_name(capsule)))
