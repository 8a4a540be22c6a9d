"""Multiplying a block of samples: exact unless asked otherwise, by whatever is fastest where it happens.

Two libraries can multiply on a CPU. numpy's is the faster one by itself: it calls SYRK for a matrix with itself, half
the work, and its float64 GEMM beat torch's by a third where we measured. Between forward passes torch's wins: the idle
threads of two libraries spin on the same cores, which costs more than the better GEMM brings.
"""

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Gemm: TypeAlias = Literal["float64", "float32", "tf32"]
"""In what a block is multiplied; sums over blocks are float64 whatever this says.

`float64` adds nothing to the rounding of the activations. With `float32` each entry of the sums is off by about 1e-7 of
the product of its two neurons' norms, with `tf32` (the tensor cores' 10-bit mantissa; float32 on a CPU) by about 5e-4.
CKA and Procrustes move by as little; the directions whose variance is no more than that rounding are cut from CCA,
SVCCA, PWCCA and regression, and are not in the kept dimensions (`gemm_rounding`).
"""
Library: TypeAlias = Literal["numpy", "torch"]
"""What multiplies on a CPU: `numpy` where nothing else computes, `torch` between forward passes."""

_HALVED = 256


def gemm_rounding(gemm: Gemm) -> float:
    """Return how far an entry of a sum may be off by its multiplication, as a share of its neurons' norms."""
    return {"float64": 0.0, "float32": 2.0**-23, "tf32": 2.0**-11}[gemm]


def shifted(samples: Tensor, origin: Tensor, gemm: Gemm, library: Library) -> Tensor:
    """Subtract `origin` (p,) from samples (n, p) on its device, in the dtype that `gemm` multiplies in."""
    samples = samples.to(origin.device)
    if not samples.is_floating_point():
        samples = samples.double()
    if samples.dtype == torch.float64 or gemm == "float64":
        # A copy, then in place: torch's subtraction of two dtypes is several times slower.
        difference = _minus(samples, origin, library)
        return difference if gemm == "float64" else difference.float()
    return samples.float() - origin.float()  # origins are float32 numbers then: nothing is lost


def squared_lengths(samples: Tensor, library: Library) -> Tensor:
    """Return the squared length of each sample (n, p), float64 (n,)."""
    if samples.is_cuda or library == "torch":
        lengths: Tensor = torch.linalg.vecdot(samples, samples)
        return lengths.double()
    return torch.from_numpy(np.einsum("ij,ij->i", samples.numpy(), samples.numpy())).double()


def product(x: Tensor, y: Tensor, gemm: Gemm, library: Library) -> Tensor:
    """Return x^T y, (p, q) in the dtype of the two, for samples x (n, p) and y (n, q) on one device."""
    if not x.is_cuda:
        return torch.from_numpy(x.numpy().T @ y.numpy()) if library == "numpy" else _by_torch(x, y)
    if gemm != "tf32":
        return x.T @ y
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        return x.T @ y
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def add_to(total: Tensor, more: Tensor, library: Library) -> None:
    """Add in place, float64 += any float dtype."""
    if total.is_cuda or library == "torch":
        total += more
    else:
        np.add(total.numpy(), more.numpy(), out=total.numpy())


def _minus(samples: Tensor, origin: Tensor, library: Library) -> Tensor:
    if samples.is_cuda or library == "torch" or samples.itemsize < 4:
        return samples.to(torch.float64, copy=True).sub_(origin)
    return torch.from_numpy(np.subtract(samples.numpy(), origin.numpy(), dtype=np.float64))


def _by_torch(x: Tensor, y: Tensor) -> Tensor:
    """Multiply; a wide matrix with itself by halves, of which one corner is the other's transpose."""
    half = x.shape[1] // 2
    if x is not y or half < _HALVED // 2:
        return x.T @ y
    first, second = x[:, :half], x[:, half:]
    corner = first.T @ second
    return torch.cat([torch.cat([first.T @ first, corner], 1), torch.cat([corner.T, second.T @ second], 1)])
