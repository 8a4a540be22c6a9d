"""Multiplying a block of samples: exact on request, as fast as the machine's own GEMM.

On the CPU numpy multiplies: it calls SYRK for a matrix with itself, which is half the work, and that library's
float64 GEMM is the faster one on the processors that we measured. On an accelerator torch multiplies.
"""

from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

Gemm: TypeAlias = Literal["float64", "float32", "tf32"]
"""In what a block is multiplied; sums over blocks are float64 whatever this says.

`float64` adds nothing to the rounding of the activations. With `float32` each entry of a block of m samples is off by
about 6e-8 of the product of its two neurons' norms (measured: similarities move by less than 1e-6, see
docs/similarity.md). `tf32` is the tensor cores' 10-bit mantissa, off by about 5e-4 of that product; on a CPU it is
float32.
"""


def shifted(samples: Tensor, origin: Tensor, gemm: Gemm) -> Tensor:
    """Subtract `origin` (p,) from samples (n, p) on its device, in the dtype that `gemm` multiplies in."""
    dtype = torch.float64 if gemm == "float64" else torch.float32
    if samples.dtype not in (torch.float32, torch.float64):
        samples = samples.to(torch.float32 if samples.is_floating_point() and samples.itemsize < 4 else torch.float64)
    samples = samples.to(origin.device)
    if origin.is_cuda:
        return (samples.double() - origin).to(dtype)
    # One thread of one library in the whole block: two libraries' idle threads would wait for each other's cores.
    rows, at = samples.numpy(), origin.numpy()
    if dtype == torch.float32 and samples.dtype == torch.float32:
        return torch.from_numpy(np.subtract(rows, at.astype(np.float32)))
    difference = np.subtract(rows, at, dtype=np.float64)
    return torch.from_numpy(difference.astype(np.float32) if dtype == torch.float32 else difference)


def squared_lengths(samples: Tensor) -> Tensor:
    """Return the squared length of each sample (n, p), float64 (n,)."""
    if samples.is_cuda:
        return samples.double().square().sum(1)
    return torch.from_numpy(np.einsum("ij,ij->i", samples.numpy(), samples.numpy())).double()


def product(x: Tensor, y: Tensor, gemm: Gemm) -> Tensor:
    """Return x^T y, (p, q) in the dtype of the two, for samples x (n, p) and y (n, q) on one device."""
    if not x.is_cuda:
        return torch.from_numpy(x.numpy().T @ y.numpy())
    if gemm != "tf32":
        return x.T @ y
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        return x.T @ y
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def add_to(total: Tensor, more: Tensor) -> None:
    """Add in place, float64 += any float dtype."""
    if total.is_cuda:
        total += more
    else:
        np.add(total.numpy(), more.numpy(), out=total.numpy())
