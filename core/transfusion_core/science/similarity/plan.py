"""Which views of the layers are summed together, and how the images are cut into shards."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from transfusion_core.science.similarity.gathering import Gathering
from transfusion_core.science.similarity.options import LayerPair, Options
from transfusion_core.science.similarity.samples import Sampling, Shape, View, common_grid, paired_cuts
from transfusion_core.science.similarity.sums import Couple

SHARDS = 16
"""Groups of images kept apart for the intervals: their spread is known to 18%, which Student's t accounts for."""
_FEWEST_SHARDS = 5
_SHARD_BYTES = 2**31


class Place(NamedTuple):
    """Where the sums of one draw of a layer pair are: the number of the gathering, and the layers' names in it."""

    gathering: int
    a: str
    b: str


class Plan:
    """How one pass is summed, from the shapes of the layers and the number of images.

    `groups`: views that are summed together, one gathering each; `places` of each layer pair, one for every draw;
    `shards`: how many all parts of the pass have together, `mine` the numbers of this part's; `batches`: the images of
    this part as they are run; `device`: where sums are; `warnings`: which options cannot be met.
    """

    def __init__(
        self,
        pairs: Sequence[LayerPair],
        shapes: Mapping[tuple[int, str], Shape],
        *,
        images: int,
        options: Options,
        device: torch.device,
    ) -> None:
        self._options, self.device = options, device
        views = {pair: _views(pair, shapes, options.sampling) for pair in pairs}
        couples = list(dict.fromkeys(couple for found in views.values() for couple in found))
        most = options.sampling.channels or max(shape.channels for shape in shapes.values())
        self._widths = {
            view: min(shapes[view.network, view.layer].channels, most) for couple in couples for view in couple
        }
        self.groups = _connected(couples)
        group_of = {view: number for number, group in enumerate(self.groups) for view in group}
        self.places = {pair: [Place(group_of[a], str(a), str(b)) for a, b in found] for pair, found in views.items()}
        self.shards, self._keep = self._cut(couples, images)
        self.warnings = [] if self._keep or not options.intervals else [self._no_interval(images)]
        bounds = paired_cuts(images, self.shards)
        part = options.part
        mine = range(self.shards * part.number // part.of, self.shards * (part.number + 1) // part.of)
        sizes = {number: bounds[number + 1] - bounds[number] for number in mine}
        self.mine = frozenset(mine)
        self.batches = list(_batches(bounds[mine.start : mine.stop + 1], options.batch_size)) if mine else []
        permute = options.permute and images >= 2
        self.gatherings = [self._gathering(group, couples, sizes, permute=permute) for group in self.groups]

    def gather(self, samples: Mapping[View, Tensor]) -> list[Callable[[], None]]:
        """Return what adds the samples (images, positions, channels) of every view, of the next images; in any order.

        The most work comes first, so that no thread is left with it in the end.
        """

        def work(number: int) -> int:
            return sum(samples[view].numel() * self._widths[view] for view in self.groups[number])

        def add(number: int) -> None:
            self.gatherings[number].add({str(view): samples[view] for view in self.groups[number]})

        return [partial(add, number) for number in sorted(range(len(self.groups)), key=work, reverse=True)]

    def _cut(self, couples: Sequence[tuple[View, View]], images: int) -> tuple[int, bool]:
        """Return how many shards there are, and whether their sums are kept.

        Of a pass with intervals they are those of an undivided one: where there are more parts than shards some have
        none.
        """
        numbers = sum(width**2 for width in self._widths.values())
        numbers += sum(self._widths[a] * self._widths[b] for a, b in couples)
        affordable, parts = min(SHARDS, images // 2, _SHARD_BYTES // (4 * numbers)), self._options.part.of
        if self._options.intervals and affordable >= _FEWEST_SHARDS and parts <= SHARDS:
            return affordable, True
        return min(parts, max(images // 2, 1)), False

    def _no_interval(self, images: int) -> str:
        return (
            f"no interval: it needs {_FEWEST_SHARDS} shards of at least 2 images, {_SHARD_BYTES >> 30} GiB for their "
            f"sums and {SHARDS} parts at most; there are {images} images and {len(self._widths)} layers"
        )

    def _gathering(
        self, group: Sequence[View], couples: Sequence[tuple[View, View]], shards: Mapping[int, int], *, permute: bool
    ) -> Gathering:
        members = set(group)
        chosen: dict[Couple, None] = {}
        for a, b in couples:
            if a in members and (str(b), str(a)) not in chosen:  # those are the same sums, the other way round
                chosen[str(a), str(b)] = None
        return Gathering(
            {str(view): self._widths[view] for view in group},
            list(chosen),
            positions=min(group[0].positions, self._options.sampling.positions_per_image or 1),
            shards=shards,
            keep=self._keep,
            permute=permute,
            gemm=self._options.gemm,
            device=self.device,
        )


def _batches(bounds: Sequence[int], most: int) -> Iterator[range]:
    """Cut images at the bounds of shards, where there are several in a batch, or within a shard in equal parts.

    Blocks are cut alike, so that most of them are a batch, and nothing has to be put together.
    """
    paired = most - most % 2
    start = bounds[0]
    for stop, following in zip(bounds[1:], [*bounds[2:], None], strict=True):
        if following is not None and following - start <= most:
            continue
        count = stop - start
        cuts = paired_cuts(count, -(-count // paired)) if paired else range(count + 1)
        yield from (range(start + first, start + last) for first, last in pairwise(cuts) if first < last)
        start = stop


def _views(pair: LayerPair, shapes: Mapping[tuple[int, str], Shape], sampling: Sampling) -> list[tuple[View, View]]:
    """Return the views of a pair of layers at which they have the same samples, one couple for every draw."""
    (a, b) = (shapes[end] for end in pair.ends)
    grids = common_grid(a.grid, b.grid) if sampling.positions_per_image is not None else ((), ())
    draws = [None] if sampling.channels is None else range(sampling.draws)
    return [(View(*pair.ends[0], grids[0], draw), View(*pair.ends[1], grids[1], draw)) for draw in draws]


def _connected(couples: Sequence[tuple[View, View]]) -> list[list[View]]:
    """Group views that are compared with one another, directly or through others."""
    group_of: dict[View, list[View]] = {}
    for a, b in couples:
        mine, theirs = group_of.setdefault(a, [a]), group_of.setdefault(b, [b])
        if mine is not theirs:
            mine.extend(theirs)
            group_of |= dict.fromkeys(theirs, mine)
    return list({id(group): group for group in group_of.values()}.values())
