"""Streaming sums over the samples of several layers at once: all that the similarities need of them.

A layer here is a name with a width. Each layer has an origin near its mean; what is summed is taken about it. For
pairs of layers x (n, p), y (n, q) with k_i = |x_i|^2 and l_i = |y_i|^2, the sums x^T y, sum(k y), sum(l x) and
sum(k l) move exactly to any other origin, which is what makes them merge. The first is the cross moment; the other
three are what the debiased CKA needs (the diagonals of the two Gram matrices are k and l).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, distributed

from transfusion_core.science.similarity.guard import NonFiniteActivations
from transfusion_core.science.similarity.products import (
    Gemm,
    Room,
    add_product,
    add_to,
    gemm_rounding,
    mirror,
    product,
    shifted,
    squared,
    squared_lengths,
)
from transfusion_core.science.similarity.threads import each

Couple: TypeAlias = tuple[str, str]

LARGEST = 1e70
"""Fourth powers of activations are summed, and float64 ends at 1.8e308."""
LARGEST_IN_FLOAT32 = 1e11
"""Of coarser products: third powers are then summed in a block's float32, which ends at 3.4e38."""
_FIRST = 256  # samples that an origin is taken from: it need only be near the mean
_EPSILON = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class Product:
    """Sums over one pair of layers about their origins: `xy` (p, q); `ky` (q,); `lx` (p,); `kl` (); float64."""

    xy: Tensor
    ky: Tensor
    lx: Tensor
    kl: Tensor

    @classmethod
    def zeros(cls, p: int, q: int, device: torch.device | str) -> Self:
        """Sums over no samples."""
        shapes: tuple[tuple[int, ...], ...] = ((p, q), (q,), (p,), ())
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def swapped(self) -> "Product":
        """Return the sums of the same pair, the other layer first."""
        return Product(xy=self.xy.T, ky=self.lx, lx=self.ky, kl=self.kl)

    def add(self, other: "Product") -> None:
        """Add sums of other samples about the same origins, in place."""
        for name, mine in vars(self).items():
            add_to(mine, getattr(other, name))


@dataclass(frozen=True, eq=False)
class _Move:
    """One layer's way to another origin: `by` (p,), its sum (p,) and summed squared lengths about the old one."""

    by: Tensor
    total: Tensor
    squares: Tensor

    @property
    def length(self) -> Tensor:
        return self.by @ self.by


class Sums:
    """Sums over the same n samples of some layers and of pairs among them, the same for any split into batches.

    `total` holds the sum (p,) of each neuron about its origin, `squares` that of its square, where no exact product of
    the layer with itself has them. A layer that is named in `reordered` has the samples of another in another order.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        couples: Iterable[Couple],
        *,
        reordered: Mapping[str, str] | None = None,
        device: torch.device | str = "cpu",
        gemm: Gemm = "float64",
    ) -> None:
        """Start with no samples. Sums live on `device`, which must know float64."""
        self.widths, self.n = dict(widths), 0
        self._device = torch.device(device)
        self.gemm, self.rounding = gemm, gemm_rounding(gemm)
        self._placed = False  # whether origins stand before there are samples
        self.reordered = dict(reordered or {})
        self.origin = {name: torch.zeros(p, dtype=torch.float64, device=device) for name, p in self.widths.items()}
        self.total = {name: torch.zeros_like(origin) for name, origin in self.origin.items()}
        self.resolution = dict.fromkeys(self.widths, _EPSILON)
        self._products = {(a, b): Product.zeros(self.widths[a], self.widths[b], device) for a, b in couples}
        apart = [name for name in self.widths if gemm != "float64" or (name, name) not in self._products]
        self.squares = {name: torch.zeros_like(self.origin[name]) for name in apart if name not in self.reordered}
        self._half = False  # whether of layers with themselves only the lower triangle is up to date

    @property
    def products(self) -> dict[Couple, Product]:
        """The sums of each couple."""
        if self._half:
            for (a, b), sums in self._products.items():
                if a == b:
                    mirror(sums.xy)
                    if a in self.squares:
                        sums.xy.diagonal().copy_(self.squares[a])  # coarser products are off there by most
            self._half = False
        return self._products

    @products.setter
    def products(self, products: dict[Couple, Product]) -> None:
        self._products, self._half = products, False

    def add(self, samples: Mapping[str, Tensor], room: Room | None = None) -> None:
        """Add a block: (m, p) or (images, positions, p) of any float dtype for every layer, the same samples of all.

        Blocks that one thread adds one after the other may share `room`.

        Raises NonFiniteActivations on NaN, infinity or overflow, before anything is added.
        """
        rows = next(iter(samples.values())).shape[:-1].numel()
        if rows == 0:
            return
        taken = room or Room()
        self._settle(samples)
        names, numbers = list(samples), sum(block.numel() for block in samples.values())
        prepared = each(lambda name: self._prepare(name, samples[name], taken), names, numbers=numbers)
        blocks, lengths, squares = (dict(zip(names, found, strict=True)) for found in zip(*prepared, strict=True))
        # Ones, and the squared lengths of every layer: sum(x) and all sum(k x) in a single product. Each is a row of
        # memory: of float32 samples whose neurons are rows too, this product takes a sixth of the time so.
        weights = torch.stack([torch.ones_like(lengths[names[0]]), *lengths.values()]).T
        table = product(weights, weights)
        weights = weights.to(blocks[names[0]].dtype)
        row = {name: index + 1 for index, name in enumerate(names)}
        weighed = each(lambda name: product(weights, blocks[name]), names, numbers=numbers)
        along = dict(zip(names, weighed, strict=True))
        for name in names:
            add_to(self.total[name], along[name][0])
            if name in self.squares:
                add_to(self.squares[name], squares[name])
            self.resolution[name] = max(self.resolution[name], resolution_of(samples[name]))

        def multiply(couple: Couple) -> None:
            (a, b), sums = couple, self._products[couple]
            add_product(sums.xy, blocks[a], blocks[b], self.gemm)
            add_to(sums.ky, along[b][row[a]])
            add_to(sums.lx, along[a][row[b]])
            add_to(sums.kl, table[row[a], row[b]])

        each(multiply, list(self._products), numbers=numbers)
        self._half = True
        self.n += rows

    def merge(self, other: "Sums") -> Self:
        """Add the samples of `other`, left as it was, and return self."""
        if self.n == 0 and other.n:
            self.place(other.origin)
        theirs = other if other._lies_at(self.origin) else other.about(self.origin)
        for name in self.widths:
            add_to(self.total[name], theirs.total[name])
            self.resolution[name] = max(self.resolution[name], theirs.resolution[name])
        for name, squares in self.squares.items():
            add_to(squares, theirs.squares_of(name))
        for couple, mine in self._products.items():
            mine.add(theirs._products[couple])
        self._half = self._half or theirs._half
        self.n += theirs.n
        self.rounding = max(self.rounding, theirs.rounding)
        return self

    def beside(self) -> "Sums":
        """Return sums over no samples yet, about the origins of these, of samples that are to be merged into them."""
        more = Sums(
            self.widths,
            self._products,
            reordered=self.reordered,
            device=self.device,
            gemm=self.gemm,
        )
        if self.n or self._placed:
            more.place(self.origin)
        return more

    def place(self, origin: Mapping[str, Tensor]) -> None:
        """Take these origins, as far as they can be subtracted, for the samples to come; there may be none yet."""
        self.origin, self._placed = {name: self._rounded(there.to(self.device)) for name, there in origin.items()}, True

    def origins_of(self, samples: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the origins that a first block gives each layer."""
        return {name: self._first_origin(block) for name, block in samples.items()}

    def only(self, couples: Iterable[Couple]) -> "Sums":
        """Return the sums of some couples and their layers; the tensors are the same ones."""
        part = Sums({}, [], gemm=self.gemm, device=self.device)
        part.rounding = self.rounding
        part.n, part.products = self.n, {couple: self.products[couple] for couple in couples}
        names = {name for couple in part.products for name in couple}
        part.widths = {name: width for name, width in self.widths.items() if name in names}
        part.reordered = {name: other for name, other in self.reordered.items() if name in names}
        part.origin = {name: self.origin[name] for name in part.widths}
        part.total = {name: self.total[name] for name in part.widths}
        part.squares = {name: squares for name, squares in self.squares.items() if name in names}
        part.resolution = {name: self.resolution[name] for name in part.widths}
        return part

    def about(self, origin: Mapping[str, Tensor]) -> "Sums":
        """Return the same sums about other origins, on this device, to read: what did not move is shared."""
        moved = self.only(self.products)
        moved._move_to({name: origin[name].to(self.device) for name in self.widths})
        return moved

    def centred(self) -> "Sums":
        """Return the same sums about the means of the layers."""
        return self.about(self.means)

    @property
    def means(self) -> dict[str, Tensor]:
        """Mean of each layer, (p,)."""
        return {name: self.origin[name] + total / max(self.n, 1) for name, total in self.total.items()}

    def all_reduce(self, group: Any = None) -> Self:
        """Add up the samples of all processes of a torch.distributed group, in every one of them.

        Origins are those of the first process that saw a sample, so that the sums of all can be added as they are.
        """
        counts = torch.zeros(distributed.get_world_size(group), dtype=torch.float64, device=self.device)
        counts[distributed.get_rank(group)] = self.n
        distributed.all_reduce(counts, group=group)
        lead = int((counts > 0).nonzero()[0]) if bool((counts > 0).any()) else 0
        mine = 1.0 if distributed.get_rank(group) == lead else 0.0
        origin = {name: here * mine for name, here in self.origin.items()}
        for there in origin.values():
            distributed.all_reduce(there, group=group)
        self._move_to(origin)
        tensors = [*self.total.values(), *self.squares.values()]
        tensors += [tensor for sums in self.products.values() for tensor in vars(sums).values()]
        for tensor in tensors:
            distributed.all_reduce(tensor, group=group)
        if self.resolution:
            coarsest = torch.tensor(list(self.resolution.values()), dtype=torch.float64, device=self.device)
            distributed.all_reduce(coarsest, op=distributed.ReduceOp.MAX, group=group)
            self.resolution = dict(zip(self.resolution, coarsest.tolist(), strict=True))
        self.n = int(counts.sum())
        return self

    def state(self) -> dict[str, Any]:
        """Return everything as plain containers of tensors that share no memory, fit for `torch.save`."""
        copy = self._like(self)
        return {
            "widths": copy.widths, "reordered": copy.reordered, "gemm": copy.gemm, "n": copy.n,
            "rounding": copy.rounding,
            "resolution": copy.resolution,
            "origin": copy.origin, "total": copy.total, "squares": copy.squares,
            "products": [[a, b, *vars(sums).values()] for (a, b), sums in copy.products.items()],
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Sums":
        """Rebuild what `state` returned."""
        sums = cls(state["widths"], [], reordered=state["reordered"], gemm=state["gemm"])
        sums.rounding = state["rounding"]
        sums.n, sums.resolution = state["n"], dict(state["resolution"])
        sums.origin, sums.total, sums.squares = (dict(state[name]) for name in ("origin", "total", "squares"))
        sums.products = {(a, b): Product(*tensors) for a, b, *tensors in state["products"]}
        return sums

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float64) -> "Sums":
        """Return a copy on another device, or its products in a smaller dtype for keeping only.

        Sums of third and fourth powers stay as they are: they are few, and may be too large for a smaller one.
        """
        copy = self._like(self)
        copy._device = torch.device(device)
        copy.origin = {name: tensor.to(device) for name, tensor in copy.origin.items()}
        copy.total = {name: tensor.to(device) for name, tensor in copy.total.items()}
        copy.products = {
            couple: Product(sums.xy.to(device, dtype), *(each.to(device) for each in (sums.ky, sums.lx, sums.kl)))
            for couple, sums in copy.products.items()
        }
        return copy

    @property
    def device(self) -> torch.device:
        """Where the sums live; where they lived, of sums from which every layer was left out."""
        return next((there.device for there in self.origin.values()), self._device)

    @classmethod
    def _like(cls, sums: "Sums") -> "Sums":
        copy = cls(sums.widths, [], reordered=sums.reordered, gemm=sums.gemm, device=sums.device)
        copy.rounding = sums.rounding
        copy.n, copy.resolution = sums.n, dict(sums.resolution)
        copy.origin = {name: tensor.clone() for name, tensor in sums.origin.items()}
        copy.total = {name: tensor.clone() for name, tensor in sums.total.items()}
        copy.squares = {name: tensor.clone() for name, tensor in sums.squares.items()}
        copy.products = {
            couple: Product(*(tensor.clone() for tensor in vars(found).values()))
            for couple, found in sums.products.items()
        }
        return copy

    def squares_of(self, name: str) -> Tensor:
        """Return the sum of squares of each neuron of a layer about its origin, (p,)."""
        layer = self.reordered.get(name, name)
        return self.squares[layer] if layer in self.squares else self._products[layer, layer].xy.diagonal()

    def _prepare(self, name: str, samples: Tensor, room: Room) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return a layer's samples about its origin, their squared lengths, and the sums that `squares` asks for."""
        with np.errstate(over="ignore", invalid="ignore"):  # which the lengths show
            block = shifted(name, samples, self.origin[name], self.gemm, room)
            lengths, squares = squared(block) if name in self.squares else (squared_lengths(block), None)
        _require_finite(name, lengths, samples, LARGEST if self.gemm == "float64" else LARGEST_IN_FLOAT32)
        return block, lengths, squares

    def _lies_at(self, origin: Mapping[str, Tensor]) -> bool:
        return all(torch.equal(here, origin[name].to(here.device)) for name, here in self.origin.items())

    def _settle(self, samples: Mapping[str, Tensor]) -> None:
        """Keep every origin within a standard deviation of the running mean, so that a large mean costs no digits."""
        if self.n == 0 and not self._placed:
            self.place(self.origins_of(samples))
        elif self.n and any(self._far(name) for name in self.widths):
            self._move_to({name: self._rounded(mean) for name, mean in self.means.items()})

    def _far(self, name: str) -> bool:
        """Tell whether the mean of some neuron lies further than a standard deviation from its origin."""
        return bool((2 * self.total[name].square() > self.n * self.squares_of(name)).any())

    def _first_origin(self, block: Tensor) -> Tensor:
        """Mean of the first samples; the value itself of a neuron that does not vary, so that its scatter is 0."""
        rows = block[:_FIRST].flatten(0, -2)[:_FIRST].to(self.device, torch.float64)
        return self._rounded(torch.where((rows == rows[0]).all(0), rows[0], rows.mean(0)))

    def _rounded(self, origin: Tensor) -> Tensor:
        """A copy, rounded to float32 where float32 is multiplied: the same is then subtracted in either dtype."""
        return origin.clone() if self.gemm == "float64" else origin.float().double()

    def _move_to(self, origin: Mapping[str, Tensor]) -> None:
        moves = {name: self._move(name, there) for name, there in origin.items()}
        products = self.products

        def moved(couple: Couple) -> Product:
            return _moved(products[couple], *(moves[name] for name in couple), n=self.n)

        numbers = sum(sums.xy.numel() for sums in products.values() if not sums.xy.is_cuda)
        self.products = dict(zip(products, each(moved, list(products), numbers=numbers), strict=True))
        self.squares = {name: _moved_squares(squares, moves[name], n=self.n) for name, squares in self.squares.items()}
        self.total = {name: total - self.n * moves[name].by for name, total in self.total.items()}
        self.origin = {name: there.clone() for name, there in origin.items()}

    def _move(self, name: str, origin: Tensor) -> _Move:
        return _Move(origin - self.origin[name], self.total[name], self.squares_of(name).sum())


def _moved(sums: Product, x: _Move, y: _Move, *, n: int) -> Product:
    """Take sums to origins that lie x.by and y.by further on, from |x - d|^2 = k - 2 d.x + |d|^2."""
    if n == 0 or not (bool(x.by.any()) or bool(y.by.any())):
        return sums
    dx, dy = x.by, y.by
    left_x = x.squares - 2 * dx @ x.total + n * x.length  # sum(k) about the new origin
    left_y = y.squares - 2 * dy @ y.total + n * y.length
    across = dx @ sums.xy  # (q,)
    along = sums.xy @ dy  # (p,)
    return Product(
        xy=torch.addr(sums.xy, x.total, dy, alpha=-1).addr_(dx, y.total - n * dy, alpha=-1),
        ky=sums.ky - 2 * across + x.length * y.total - left_x * dy,
        lx=sums.lx - 2 * along + y.length * x.total - left_y * dx,
        kl=sums.kl
        - 2 * (dy @ sums.ky + dx @ sums.lx)
        + y.length * (x.squares - 2 * dx @ x.total)
        + x.length * (y.squares - 2 * dy @ y.total)
        + 4 * dx @ along
        + n * x.length * y.length,
    )


def _moved_squares(squares: Tensor, move: _Move, *, n: int) -> Tensor:
    return squares - move.by * (2 * move.total - n * move.by) if bool(move.by.any()) else squares


def resolution_of(samples: Tensor) -> float:
    """Return the machine epsilon of a float tensor; whole numbers count as exact."""
    return torch.finfo(samples.dtype).eps if samples.is_floating_point() else 0.0


def _require_finite(name: str, lengths: Tensor, samples: Tensor, largest: float) -> None:
    """NaN, infinity and overflow all end in a sample's squared length."""
    if bool((lengths < largest**2).all()):
        return
    if bool(samples.isfinite().all()):
        raise NonFiniteActivations(name, f"holds numbers whose moments overflow: expected none beyond {largest:g}")
    raise NonFiniteActivations(name, f"holds NaN or infinity in {len(lengths)} samples")
