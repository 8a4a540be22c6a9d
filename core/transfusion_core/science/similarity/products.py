"""Multiplying a block of samples: exact unless asked otherwise, on a CPU by BLAS into the sums themselves.

SYRK multiplies a matrix with itself in half the work, and leaves the upper triangle as it was.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor

from transfusion_core.science.similarity import blas

Gemm: TypeAlias = Literal["float64", "float32", "tf32"]
"""In what a block is multiplied; sums over blocks are float64 whatever this says.

`float64` adds nothing to the rounding of the activations. With `float32` each entry of the sums is off by about 1e-7 of
the product of its two neurons' norms, by 1e-6 where many activations are one number, as after a ReLU; with `tf32` (the
tensor cores' 10-bit mantissa; float32 on a CPU) by about 5e-4.
CKA and Procrustes move by a few times as much; the directions whose variance is no more than that rounding are cut from
CCA, SVCCA, PWCCA and regression, and are not in the kept dimensions (`gemm_rounding`).
"""


def is_intel(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """Tell whether the CPU is Intel's; False where the system does not say, as none but Linux does."""
    return cpu_info.is_file() and "GenuineIntel" in cpu_info.read_text()


TORCH_IS_FASTER = torch.backends.cpu.get_cpu_capability() == "AVX512" and is_intel()
"""Whether this is an Intel CPU with AVX-512, for which MKL is made: torch's library multiplies and decomposes faster
than numpy's there. Neither holds on an AMD CPU with AVX-512.
A rule and no measurement, so that one machine always gives the same digits.
"""
_GROUP = 32  # squares of so many samples are added in their own dtype, and their sums in float64
_STRIPE = 48  # neurons: narrower products of MKL are slower by more than they leave out
_BY_STRIPES = (192, 512)  # neurons, innermost in memory and outermost: of more SYRK is faster than MKL's stripes


def gemm_rounding(gemm: Gemm) -> float:
    """Return how far an entry of a sum may be off by its multiplication, as a share of its neurons' norms."""
    return {"float64": 0.0, "float32": 2.0**-23, "tf32": 2.0**-11}[gemm]


class Room:
    """Memory in which a layer's blocks take turns: memory taken anew is cleared for each of them, page by page."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._held: dict[str, Tensor] = {}

    def of(self, layer: str, numbers: int, dtype: torch.dtype) -> Tensor:
        """Return room (numbers,) for a block of a layer, until the next one of it."""
        held = self._held.get(layer)
        if held is None or held.dtype != dtype or len(held) < numbers:
            held = self._held[layer] = torch.empty(numbers, dtype=dtype)
        return held[:numbers]


def shifted(layer: str, samples: Tensor, origin: Tensor, gemm: Gemm, room: Room) -> Tensor:
    """Subtract `origin` (p,) from samples (n, p) or (images, positions, p) of a layer, in the dtype of products.

    Returns (n, p) on the origin's device: on a CPU in the order of memory of the samples, and in `room` in that dtype.
    """
    samples = samples.to(origin.device)
    if not samples.is_floating_point():
        samples = samples.double()
    if samples.dtype != torch.float64 and gemm != "float64":
        origin = origin.float()  # origins are float32 numbers then: nothing is lost
    if samples.is_cuda:
        difference = samples.flatten(0, -2).to(origin.dtype, copy=True).sub_(origin)
    else:
        difference = _minus(samples, origin, room.of(layer, samples.numel(), origin.dtype))
    return difference if gemm == "float64" else difference.float()


def squared_lengths(samples: Tensor) -> Tensor:
    """Return the squared length of each sample (n, p), float64 (n,)."""
    if samples.is_cuda:
        lengths: Tensor = torch.linalg.vecdot(samples, samples)
        return lengths.double()
    return torch.from_numpy(np.einsum("ij,ij->i", samples.numpy(), samples.numpy())).double()


def squared(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return the squared length of each sample (n, p), and the sum of each neuron's square, float64 (n,) and (p,)."""
    if samples.is_cuda:
        squares = samples.square()
        return squares.sum(1).double(), squares.sum(0, dtype=torch.float64)
    x, whole = samples.numpy(), len(samples) // _GROUP * _GROUP
    if x.flags.c_contiguous:
        cut = x[:whole].reshape(-1, _GROUP, x.shape[1])
        groups = np.einsum("gij,gij->gj", cut, cut)
    else:
        cut = x.T[:, :whole].reshape(x.shape[1], -1, _GROUP)
        groups = np.einsum("jgi,jgi->jg", cut, cut).T
    total = groups.sum(0, dtype=np.float64) + np.square(x[whole:]).sum(0, dtype=np.float64)
    return squared_lengths(samples), torch.from_numpy(total)


def add_product(total: Tensor, x: Tensor, y: Tensor, gemm: Gemm) -> None:
    """Add x^T y to `total` (p, q), float64, in place, for samples x (n, p) and y (n, q) on its device.

    Where x is y only the lower triangle is sure to be added: see `mirror`.
    """
    if total.is_cuda:
        total += _on_accelerator(x, y, gemm)
    elif x.dtype != torch.float64 or not total.is_contiguous():
        _add_apart(total, x, y)
    elif x is y:
        _add_square(total, x)
    elif TORCH_IS_FASTER:
        torch.addmm(total, x.T, y, out=total)
    else:
        blas.add_product(total.numpy(), x.numpy(), y.numpy())


def _add_apart(total: Tensor, x: Tensor, y: Tensor) -> None:
    """Add a product that is made apart."""
    if x is y:
        square = torch.zeros(total.shape, dtype=x.dtype)
        _add_square(square, x)
        add_to(total, square)
    else:
        add_to(total, product(x, y))


def _add_square(total: Tensor, x: Tensor) -> None:
    """Add x^T x to the lower triangle, in the dtype of both; on Intel CPUs by stripes that begin at the diagonal."""
    p = len(total)
    if not TORCH_IS_FASTER or p > _BY_STRIPES[x.stride(-1) != 1]:
        blas.add_square(total.numpy(), x.numpy())
        return
    for first in range(0, p, _STRIPE):
        stripe = total[first:, first : first + _STRIPE]
        torch.addmm(stripe, x[:, first:].T, x[:, first : first + _STRIPE], out=stripe)


def mirror(symmetric: Tensor) -> None:
    """Copy the lower triangle of a square matrix over its upper one, in place."""
    p = len(symmetric)
    for first in range(0, p, _STRIPE):
        last = min(first + _STRIPE, p)
        corner = symmetric[first:last, first:last]
        corner.copy_(corner.tril() + corner.tril(-1).T)
        symmetric[first:last, last:] = symmetric[last:, first:last].T


def product(x: Tensor, y: Tensor) -> Tensor:
    """Return x^T y, (p, q) in the dtype of the two, for samples x (n, p) and y (n, q) on one device."""
    if x.is_cuda or TORCH_IS_FASTER:
        return x.T @ y
    return torch.from_numpy(x.numpy().T @ y.numpy())


def add_to(total: Tensor, more: Tensor) -> None:
    """Add in place, float64 += any float dtype."""
    if total.is_cuda:
        total += more
    else:
        np.add(total.numpy(), more.numpy(), out=total.numpy())


def _on_accelerator(x: Tensor, y: Tensor, gemm: Gemm) -> Tensor:
    if gemm != "tf32":
        return x.T @ y
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    try:
        return x.T @ y
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _minus(samples: Tensor, origin: Tensor, room: Tensor) -> Tensor:
    """Subtract on a CPU, by torch: of feature maps with channels outermost numpy takes half as long again."""
    p = samples.shape[-1]
    outermost = samples.stride(-1) != 1
    block = room.view(p, -1).T if outermost else room.view(-1, p)
    difference = room.view(p, *samples.shape[:-1]).movedim(0, -1) if outermost else room.view(samples.shape)
    if samples.dtype == origin.dtype:
        torch.sub(samples, origin, out=difference)
    else:
        difference.copy_(samples).sub_(origin)
    return block
