"""Streaming second moments of two layers on the same samples: all that the similarities need; activations
are not kept.

Limits: a direction whose variance is below about 1e-13 of the largest (in units where each neuron has
variance 1) cannot be told from rounding, since forming moments squares the condition number. Such directions
are cut and not reported as kept.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.pair import Pair
from transfusion_core.science.similarity.products import Gemm, Room
from transfusion_core.science.similarity.sums import Product, Sums
from transfusion_core.science.similarity.threads import each, one_torch_thread

Samples: TypeAlias = Tensor | NDArray[Any]

_OWN, _CROSS = (("x", "x"), ("y", "y")), ("x", "y")
_SAVED = {"xy": "s", "ky": "ky_", "lx": "lx_", "kl": "kl_"}
# A block of so many numbers stays in the processor's last cache (8 MiB of float64) while it is shifted and multiplied;
# with fewer rows than this the sums themselves, p x p numbers, would be what is moved.
_BLOCK_NUMBERS, _BLOCK_ROWS = 2**19, 1024
_MAPS_NUMBERS = 2**20  # the same of feature maps, of which a block is not cut within an image
_SUMS_NUMBERS = 2**25  # 256 MiB


class Moments:
    """Count, means and centred scatter of x (n, p) and y (n, q) in float64, the same for any split into
    batches.

    `n` counts samples. For convolutions every spatial position is a sample, and positions of one image are
    not independent, so the n that a test or an interval may rely on is nearer to the number of images.

    Each batch is shifted by the running mean before it is multiplied, so a large mean costs no digits: by the mean
    of the first block, until some neuron's mean has left it by a standard deviation. Accumulators of different samples
    merge exactly: M = M1 + M2 + n1 n2 / (n1 + n2) d d^T (Chan, Golub, LeVeque 1979). `gemm` is what batches are
    multiplied in (see `Gemm`). Without `scatters` the layers are not multiplied with themselves, which is half of the
    work: enough for `procrustes`, and for nothing else.

    Attributes: `n`, `p`, `q`; `mean_x` (p,), `mean_y` (q,); `sxx` (p, p), `sxy` (p, q), `syy` (q, q),
    centred and not divided by n; `resolution_x`, `resolution_y`: coarsest machine epsilon of the inputs, because the
    rounding of float16 activations must not pass for directions; `pair`: all of it as the measures read it.
    """

    def __init__(
        self, p: int, q: int, *, device: torch.device | str = "cpu", gemm: Gemm = "float64", scatters: bool = True
    ) -> None:
        """Start with no samples of layers with p and q neurons; sums live on `device`, which must know
        float64.
        """
        if p < 1 or q < 1:
            raise ValueError(f"a layer has at least one neuron, got p = {p} and q = {q}")
        self.p, self.q = p, q
        couples = (*_OWN, _CROSS) if scatters else (_CROSS,)
        with one_torch_thread():  # the others would turn for milliseconds on the cores that the first samples need
            self._sums = Sums({"x": p, "y": q}, couples, device=device, gemm=gemm)
        self._pair: Pair | None = None

    @property
    def n(self) -> int:
        """Number of samples."""
        return self._sums.n

    def update(self, x: Samples, y: Samples) -> None:
        """Add samples x (n, p) and y (n, q) of any float dtype, row i of both from the same sample.

        Raises ValueError on other shapes and `NonFiniteActivations` on NaN, infinity or overflow, before
        anything is added.
        """
        x, y = _as_tensor(x), _as_tensor(y)
        self._check(x, y)
        blocks = max(1, -(-len(x) // self._block_rows(_BLOCK_NUMBERS)))
        if blocks > 1:
            blocks = -(-blocks // self._shares) * self._shares  # as many in every share
        self._add(list(zip(*(torch.tensor_split(layer, blocks) for layer in (x, y)), strict=True)))

    def update_maps(self, x: Tensor, y: Tensor) -> None:
        """Add feature maps x (n, p, h, w) and y (n, q, h, w), every position of every image a sample.

        As `update` with the positions as rows, but whatever order of memory the maps have, they are not copied as a
        whole. Raises as `update` does.
        """
        expected = f"x (n, {self.p}, h, w) and y (n, {self.q}, h, w)"
        fits = x.ndim == y.ndim == 4 and (x.shape[1], y.shape[1]) == (self.p, self.q)
        if not fits or len(x) != len(y) or x.shape[2:] != y.shape[2:]:
            raise ValueError(f"expected {expected}, got {tuple(x.shape)} and {tuple(y.shape)}")
        images = max(1, self._block_rows(_MAPS_NUMBERS) // max(x.shape[2] * x.shape[3], 1))
        self._add(list(zip(*(torch.split(layer.detach(), images) for layer in (x, y)), strict=True)), read=_positions)

    def merge(self, other: "Moments") -> Self:
        """Add the samples of `other`, left as it was, and return self; ValueError on other p, q or `scatters`."""
        if (self.p, self.q) != (other.p, other.q):
            raise ValueError(f"cannot merge moments of ({other.p}, {other.q}) into ({self.p}, {self.q}) neurons")
        if self._scatters != other._scatters:
            raise ValueError("cannot merge moments with the layers' own scatters and moments without")
        self._sums.merge(other._sums)
        self._pair = None
        return self

    def all_reduce(self, group: Any = None) -> Self:
        """Add up the samples of all processes of a torch.distributed group, in every one of them; return self."""
        self._sums.all_reduce(group)
        self._pair = None
        return self

    def save(self) -> dict[str, Tensor]:
        """Return everything as float64 tensors that share no memory, fit for safetensors."""
        sums = self._sums.centred()  # about the means, so nothing is left to sum
        tensors = {f"mean_{name}": mean for name, mean in sums.origin.items()}
        tensors |= {f"squares_{name}": sums.squares_of(name) for name in "xy"}
        for (a, b), product in sums.products.items():
            tensors |= {f"{prefix}{a}{b}": getattr(product, field) for field, prefix in _SAVED.items()}
        tensors["n"] = torch.tensor(self.n, dtype=torch.int64)
        tensors["rounding"] = torch.tensor(sums.rounding, dtype=torch.float64)
        tensors["resolution"] = torch.tensor([self.resolution_x, self.resolution_y], dtype=torch.float64)
        return {name: tensor.clone().contiguous() for name, tensor in tensors.items()}

    @classmethod
    def load(cls, tensors: Mapping[str, Tensor]) -> "Moments":
        """Rebuild what `save` returned. Raises KeyError when a tensor is missing."""
        p, q, device = len(tensors["mean_x"]), len(tensors["mean_y"]), tensors["mean_x"].device
        moments = cls(p, q, device=device, scatters="sxx" in tensors)
        sums = moments._sums
        sums.n, sums.rounding = int(tensors["n"]), float(tensors["rounding"])
        sums.resolution = dict(zip("xy", tensors["resolution"].tolist(), strict=True))
        sums.origin = {name: tensors[f"mean_{name}"].clone() for name in "xy"}
        sums.squares = {name: tensors[f"squares_{name}"].clone() for name in sums.squares}
        sums.products = {
            (a, b): Product(**{field: tensors[f"{prefix}{a}{b}"].clone() for field, prefix in _SAVED.items()})
            for a, b in sums.products
        }
        return moments

    def to(self, device: torch.device | str) -> "Moments":
        """Return a copy whose sums live on `device`."""
        return Moments.load({name: tensor.to(device) for name, tensor in self.save().items()})

    @property
    def pair(self) -> Pair:
        """Both layers about their means, with what was worked out of them kept until the next sample arrives."""
        if self._pair is None:
            sums = self._sums.centred()
            if any(found is self._sums.products[couple] for couple, found in sums.products.items()):
                sums = sums.to(sums.device)  # what has not moved would grow with the next samples
            self._pair = Pair(side_of(sums, "x"), side_of(sums, "y"), sums.products[_CROSS])
        return self._pair

    @property
    def mean_x(self) -> Tensor:
        """Mean of the first layer, (p,)."""
        return self.pair.x.mean

    @property
    def mean_y(self) -> Tensor:
        """Mean of the second layer, (q,)."""
        return self.pair.y.mean

    @property
    def sxx(self) -> Tensor:
        """Centred scatter of the first layer, (p, p)."""
        return self.pair.x.scatter

    @property
    def sxy(self) -> Tensor:
        """Centred cross scatter, (p, q)."""
        return self.pair.between.xy

    @property
    def syy(self) -> Tensor:
        """Centred scatter of the second layer, (q, q)."""
        return self.pair.y.scatter

    @property
    def resolution_x(self) -> float:
        """Coarsest machine epsilon of the first layer's samples."""
        return self._sums.resolution["x"]

    @property
    def resolution_y(self) -> float:
        """Coarsest machine epsilon of the second layer's samples."""
        return self._sums.resolution["y"]

    def _add(
        self, blocks: Sequence[tuple[Tensor, Tensor]], read: Callable[[Tensor], Tensor] = lambda block: block
    ) -> None:
        """Add blocks of what `read` makes samples of, one at a time; what they add is summed apart first, so that a
        fault in one leaves nothing behind.
        """
        if len(blocks) == 1:
            x, y = blocks[0]
            self._sums.add({"x": read(x), "y": read(y)})
        elif blocks:
            # All shares about the same origins, so that nothing has to be moved.
            first = {name: read(block) for name, block in zip("xy", blocks[0], strict=True)}
            with one_torch_thread():  # as in the beginning
                origin = self._sums.origin if self.n else self._sums.origins_of(first)

            def summed(share: Sequence[tuple[Tensor, Tensor]]) -> Sums:
                sums, room = self._sums.beside(), Room()
                sums.place(origin)
                for x, y in share:
                    sums.add({"x": read(x), "y": read(y)}, room)
                return sums

            shares = [blocks[first :: self._shares] for first in range(self._shares)]
            parts = each(summed, shares, numbers=sum(x.numel() for x, _ in blocks))
            with one_torch_thread():
                self._sums = reduce(Sums.merge, parts if self.n == 0 else [self._sums, *parts])
        self._pair = None

    @property
    def _scatters(self) -> bool:
        return len(self._sums.products) > 1

    def _block_rows(self, numbers: int) -> int:
        width = max(self.p, self.q)
        if self._sums.gemm == "float64":
            return max(_BLOCK_ROWS, numbers // width)
        # Numbers of half the size; but narrow products, which are one chain of additions, are off by its length.
        return max(_BLOCK_ROWS, min(2 * numbers // width, 32 * width))

    @property
    def _shares(self) -> int:
        """Into how many shares samples are cut: one for each thread, as far as there is room for the sums of each."""
        if self._sums.device.type != "cpu":
            return 1
        return max(1, min(torch.get_num_threads(), _SUMS_NUMBERS // (self.p**2 + self.p * self.q + self.q**2)))

    def _check(self, x: Tensor, y: Tensor) -> None:
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or (x.shape[1], y.shape[1]) != (self.p, self.q):
            expected = f"x (n, {self.p}) and y (n, {self.q})"
            raise ValueError(f"expected {expected}, got {tuple(x.shape)} and {tuple(y.shape)}")


def side_of(centred: Sums, name: str) -> Side:
    """Take one layer out of centred sums."""
    layer = centred.reordered.get(name, name)
    own, squares = centred.products.get((layer, layer)), centred.squares_of(layer)
    return Side(centred.n, own, squares, centred.origin[layer], centred.resolution[layer], centred.rounding)


def _positions(maps: Tensor) -> Tensor:
    """Return feature maps (n, c, h, w) as samples (n, h w, c), where they are."""
    return maps.flatten(2).transpose(1, 2)


def _as_tensor(samples: Samples) -> Tensor:
    if isinstance(samples, Tensor):
        return samples.detach()
    # A copy: torch warns of read-only arrays, refuses reversed ones and does not know every numpy float.
    known = samples.dtype in (np.float16, np.float32, np.float64)
    if known and samples.flags.writeable and all(stride >= 0 for stride in samples.strides):
        return torch.from_numpy(samples)
    return torch.from_numpy(np.array(samples, dtype=samples.dtype if known else np.float64, order="C"))
