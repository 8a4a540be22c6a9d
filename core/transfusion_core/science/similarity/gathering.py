"""Sums over the probe images for layers that are compared on the same positions, shard by shard, block by block."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, distributed

from transfusion_core.science.similarity.guard import NonFiniteActivations
from transfusion_core.science.similarity.products import Gemm
from transfusion_core.science.similarity.samples import paired_cuts
from transfusion_core.science.similarity.sums import Couple, Sums

REORDERED = "~"
"""What follows a layer's name to mean the same samples with the images in another order."""

# A block of so many float64 numbers is 64 MiB. More rows than the limit bring no speed, with fewer the sums themselves
# are what is moved; images wait for each other in memory until a block is full.
_BLOCK_NUMBERS, _BLOCK_ROWS, _BLOCK_IMAGES = 2**23, (1024, 4096), 128


class Block(NamedTuple):
    """So many images that are multiplied at once; `ends`: the number of the shard that ends with them, if one does."""

    images: int
    ends: int | None


class Gathering:
    """What is summed for some layers, named, and some couples of them.

    `widths`: neurons of each layer. `total` holds all complete shards; `shards` the sums of each, in float32 and
    without the null's, by its number; `broken` the fault of each layer whose activations were not finite: it is left
    out from then on.
    """

    def __init__(
        self,
        widths: Mapping[str, int],
        couples: Sequence[Couple],
        *,
        positions: int,
        shards: Mapping[int, int],
        keep: bool,
        permute: bool,
        gemm: Gemm = "float64",
        device: torch.device | str = "cpu",
    ) -> None:
        """`positions`: samples of an image. `shards`: how many images each shard has, in order; `keep` their sums.
        `permute`: also pair the images of the second layers with others.
        """
        self.widths, self._keep = dict(widths), keep
        self._reordered = {b + REORDERED: b for _, b in couples} if permute else {}
        own = {(name, name): None for name in widths}
        others = {(a, b + REORDERED): None for a, b in couples} if permute else {}
        every = {**own, **dict.fromkeys(couples), **others}
        wide = dict(widths) | {name: widths[b] for name, b in self._reordered.items()}
        self.total = Sums(wide, every, reordered=self._reordered, gemm=gemm, device=device)
        self.shards: dict[int, Sums] = {}
        self.broken: dict[str, str] = {}
        self._shard = self._fresh()
        fewest, most = _BLOCK_ROWS
        rows = min(most, _BLOCK_IMAGES * positions, _BLOCK_NUMBERS // max(sum(wide.values()), 1))
        self._blocks = list(_blocks(shards, rows=max(fewest, rows), positions=positions))
        self._pending: dict[str, list[Tensor]] = {name: [] for name in widths}

    def add(self, samples: Mapping[str, Tensor]) -> None:
        """Add samples (images, positions, channels) of every layer, of the next images."""
        for name, parts in self._pending.items():
            parts.append(samples[name])
        while self._blocks and self._waiting >= self._blocks[0].images:
            block = self._blocks.pop(0)
            self._sum({name: self._next(name, block.images) for name in self._pending})
            if block.ends is not None:
                self._end_shard(block.ends)

    def merge(self, other: "Gathering") -> Self:
        """Add the images of another gathering of the same layers, and return self."""
        broken = self.broken | other.broken
        self._drop({name: fault for name, fault in broken.items() if name not in self.broken})
        self.total.merge(_without(other.total, broken))
        self.shards |= other.shards
        return self

    def all_reduce(self, group: Any, shards: int) -> Self:
        """Add up the images of all processes of a group, in every one of them; `shards` is how many all have."""
        faults: list[dict[str, str]] = [{}] * distributed.get_world_size(group)
        distributed.all_gather_object(faults, self.broken, group=group)
        merged = {name: fault for each in faults for name, fault in each.items()}
        self._drop({name: fault for name, fault in merged.items() if name not in self.broken})
        self.total.all_reduce(group)
        if self._keep:
            for number in range(shards):
                mine = self.shards.get(number, _kept(self._fresh()))
                shard = _without(mine, self.broken).to(self.total.device, torch.float64)
                self.shards[number] = shard.all_reduce(group).to("cpu", torch.float32)
        return self

    def state(self) -> dict[str, Any]:
        """Return what was summed as plain containers of tensors, fit for `torch.save`; no samples may be waiting."""
        shards = [[number, sums.state()] for number, sums in self.shards.items()]
        return {"widths": self.widths, "total": self.total.state(), "shards": shards, "broken": dict(self.broken)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Gathering":
        """Rebuild what `state` returned; it takes no more samples."""
        gathering = cls(state["widths"], [], positions=1, shards={}, keep=bool(state["shards"]), permute=False)
        gathering.total, gathering.broken = Sums.from_state(state["total"]), dict(state["broken"])
        gathering.shards = {number: Sums.from_state(sums) for number, sums in state["shards"]}
        return gathering

    @property
    def _waiting(self) -> int:
        return sum(len(part) for part in next(iter(self._pending.values()), []))

    def _next(self, name: str, images: int) -> Tensor:
        """Take the samples of the next images, (images, positions, channels)."""
        waiting = joined(self._pending[name])
        self._pending[name] = [waiting[images:]] if len(waiting) > images else []
        return waiting[:images]

    def _sum(self, samples: Mapping[str, Tensor]) -> None:
        """Add one block, leaving out for good each layer whose activations are not finite."""
        other = {name: exchanged(samples[of]) for name, of in self._reordered.items()}
        while True:
            names = self._shard.widths
            rows = {name: each.flatten(0, 1) for name, each in {**samples, **other}.items() if name in names}
            if not rows:
                return
            try:
                self._shard.add(rows)
            except NonFiniteActivations as error:
                self._drop({error.layer.removesuffix(REORDERED): error.fault})
            else:
                return

    def _end_shard(self, number: int) -> None:
        self.total = self.total.merge(self._shard) if self.total.n else self._shard
        if self._keep:
            self.shards[number] = _kept(self._shard).to("cpu", torch.float32)
        self._shard = self._fresh()

    def _fresh(self) -> Sums:
        return self.total.beside()  # about the same origins, so that few shards have to be moved to be merged

    def _drop(self, faults: Mapping[str, str]) -> None:
        self.broken |= faults
        self.total, self._shard = (_without(sums, self.broken) for sums in (self.total, self._shard))


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Put samples (images, positions, channels) end to end in the memory order that they have."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].stride(2) == 1:
        return torch.cat(list(parts))
    return torch.cat([part.permute(2, 0, 1) for part in parts], dim=1).permute(1, 2, 0)


def exchanged(samples: Tensor) -> Tensor:
    """Put the samples (images, positions, channels) of each image in its partner's place: see `pair_of`.

    In the memory order that they have.
    """
    images = len(samples)
    order = torch.arange(images, device=samples.device) ^ 1
    if images % 2:
        order[-3:] = torch.arange(images - 3, images, device=samples.device).roll(-1)
    if samples.stride(2) == 1:
        return samples.index_select(0, order)
    return samples.permute(2, 0, 1).index_select(1, order).permute(1, 2, 0)


def _without(sums: Sums, names: Mapping[str, str]) -> Sums:
    gone = {*names, *(name + REORDERED for name in names)}
    return sums.only([couple for couple in sums.products if not gone.intersection(couple)])


def _kept(shard: Sums) -> Sums:
    """What intervals are worked out from: they are of values alone, not of the null."""
    return shard.only([couple for couple in shard.products if not any(name.endswith(REORDERED) for name in couple)])


def _blocks(shards: Mapping[int, int], *, rows: int, positions: int) -> Iterator[Block]:
    """Cut each shard into blocks of about so many rows and at least one pair of images, of nearly equal size."""
    for number, images in shards.items():
        count = max(1, min(images // 2, -(-images * positions // rows)))
        for index, (first, last) in enumerate(pairwise(paired_cuts(images, count))):
            yield Block(last - first, number if index == count - 1 else None)
