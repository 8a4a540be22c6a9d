"""One pass of several networks over the probe images, and the sums that it leaves: a comparison before its numbers.

Images are taken in shards. Each shard's own sums are kept, in float32, for the intervals; the sums of them all, in
float64, for the values. A shard is cut into blocks, in which the images of the second layer are also exchanged with
their neighbours: that is the permutation null, without a second forward pass. Neighbours show the same positions, and
are never cut apart. So nothing depends on how images are cut into shards, blocks and batches but the interval.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor, distributed

from transfusion_core.science.similarity.gathering import Gathering
from transfusion_core.science.similarity.network import Network, module_of
from transfusion_core.science.similarity.options import Images, LayerPair, Options
from transfusion_core.science.similarity.plan import Place, Plan
from transfusion_core.science.similarity.samples import Shape, View, draw_channels, draw_positions, shape_of, take
from transfusion_core.science.similarity.taps import Taps
from transfusion_core.science.similarity.threads import side_by_side


@dataclass(frozen=True, eq=False)
class Collected:
    """The sums of one pass, or of a part of it: the `places` of each layer pair asked for, one for every draw.

    `shards`: how many all parts together have; `done`: the numbers of those that are in it. `warnings` belong to every
    result.
    """

    gatherings: list[Gathering]
    places: dict[LayerPair, list[Place]]
    shards: int
    done: frozenset[int]
    warnings: list[str] = field(default_factory=list)

    def merge(self, other: "Collected") -> "Collected":
        """Add the images of another part of the same pass, and return the whole; this one is of no more use.

        Raises ValueError for a part of another pass, and for one that is in this already.
        """
        if self.places != other.places or self.shards != other.shards:
            raise ValueError("parts of one pass expected, got passes over other layers or another number of images")
        if twice := sorted(self.done & other.done):
            raise ValueError(f"parts of one pass expected, got shards {twice} of {self.shards} twice")
        for mine, theirs in zip(self.gatherings, other.gatherings, strict=True):
            mine.merge(theirs)
        return replace(self, done=self.done | other.done)

    def all_reduce(self, group: Any = None) -> "Collected":
        """Add up the parts of all processes of a torch.distributed group, in each of them, and return the whole."""
        parts: list[frozenset[int]] = [frozenset()] * distributed.get_world_size(group)
        distributed.all_gather_object(parts, self.done, group=group)
        for gathering in self.gatherings:
            gathering.all_reduce(group, self.shards)
        return replace(self, done=frozenset().union(*parts))

    def to(self, device: torch.device | str) -> "Collected":
        """Bring the sums of all images to a device, on which they are then evaluated; this one is of no more use."""
        for gathering in self.gatherings:
            gathering.total = gathering.total.to(device)
        return self

    def state(self) -> dict[str, Any]:
        """Return everything as plain containers of tensors, fit for `torch.save`."""
        places = [[*pair, [list(place) for place in places]] for pair, places in self.places.items()]
        gatherings = [each.state() for each in self.gatherings]
        rest = {"shards": self.shards, "done": sorted(self.done), "warnings": self.warnings}
        return {"gatherings": gatherings, "places": places, **rest}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> "Collected":
        """Rebuild what `state` returned."""
        places = {LayerPair(*pair): [Place(*place) for place in found] for *pair, found in state["places"]}
        gatherings = [Gathering.from_state(each) for each in state["gatherings"]]
        return cls(gatherings, places, state["shards"], frozenset(state["done"]), state["warnings"])


def collect(networks: Sequence[Network], pairs: Sequence[LayerPair], images: Images, options: Options) -> Collected:
    """Run every network once over the images, or over this worker's part of them, and sum what the pairs need.

    Raises ValueError for no images or no pairs, `UnknownLayer` for a layer that is not there.
    """
    if not len(images) or not pairs:
        raise ValueError(f"at least one image and one pair of layers expected, got {len(images)} and {len(pairs)}")
    with ExitStack() as stack:
        for network in networks:
            stack.enter_context(network.ready())
        shapes = _shapes(networks, pairs, images[slice(0, 1)], options)
        plan = Plan(pairs, shapes, images=len(images), options=options, device=networks[0].sums_device)
        views = [view for group in plan.groups for view in group]
        reader = stack.enter_context(_Reader(networks, views, options, total=len(images)))
        sums: list[Callable[[], None]] = []
        for done, rows in enumerate(plan.batches, start=1):
            samples = reader.read(images[slice(rows.start, rows.stop)], rows, meanwhile=sums)
            sums = plan.gather(samples)
            if done == len(plan.batches) or not reader.apart or len(sums) < torch.get_num_threads():
                side_by_side(sums, device=plan.device)
                sums = []
            if options.progress is not None:
                options.progress(done, len(plan.batches))
    return Collected(plan.gatherings, plan.places, plan.shards, plan.mine, plan.warnings)


def _shapes(
    networks: Sequence[Network], pairs: Sequence[LayerPair], image: Tensor, options: Options
) -> dict[tuple[int, str], Shape]:
    """Run every network, which is ready, on one image for the shape of each layer asked for."""
    asked = list(dict.fromkeys(end for pair in pairs for end in pair.ends))
    shapes: dict[tuple[int, str], Shape] = {}
    for index, network in enumerate(networks):
        layers = [layer for number, layer in asked if number == index]
        outputs = dict.fromkeys(module_of(layer) for layer in layers)
        with Taps(network.model, outputs) as taps:
            network.run(image, autocast=options.autocast)
            found = taps.take()
        shapes |= {(index, layer): shape_of(network.read(layer, found[module_of(layer)])) for layer in layers}
    return shapes


class _Reader:
    """Runs every network, which is ready, on a batch and returns its layers' samples.

    They are taken in the hooks, so that no more of an output is kept than its sampled positions.
    """

    def __init__(self, networks: Sequence[Network], views: Iterable[View], options: Options, *, total: int) -> None:
        """`total`: images of the whole pass."""
        self._networks, self._options, self._total, self._stack = networks, options, total, ExitStack()
        # Each network on a thread, unless there is only one, or one for each would leave some idle, or an accelerator.
        on_cpu = networks[0].sums_device.type == "cpu"
        self.apart = on_cpu and 1 < torch.get_num_threads() <= len(networks)
        self._views: list[dict[str, list[View]]] = [{} for _ in networks]
        for view in views:
            self._views[view.network].setdefault(module_of(view.layer), []).append(view)
        self._drawn: dict[int, Tensor] = {}
        self._taps = [
            Taps(network.model, views, partial(self._take, network, views))
            for network, views in zip(networks, self._views, strict=True)
        ]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for taps in self._taps:
                stack.enter_context(taps)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def read(self, batch: Tensor, rows: range, *, meanwhile: Sequence[Callable[[], None]]) -> dict[View, Tensor]:
        """Return samples (images, positions, channels) of every view; `rows` numbers the images.

        `meanwhile`: what a thread that has run its network does until the others have; none unless they run `apart`.
        """
        self._drawn = self._draw(rows)
        samples: dict[View, Tensor] = {}

        def run(index: int) -> None:
            self._networks[index].run(batch, autocast=self._options.autocast)
            for views in self._taps[index].take().values():
                samples.update(views)

        passes = [partial(run, index) for index in range(len(self._networks))]
        if self.apart:
            side_by_side([*passes, *meanwhile], device=torch.device("cpu"))
        else:
            for one in passes:
                one()
        return samples

    def _draw(self, images: range) -> dict[int, Tensor]:
        """Draw the positions of each number of positions that is above the budget."""
        budget, seed = self._options.sampling.positions_per_image, self._options.sampling.seed
        counts = {view.positions for views in self._views for each in views.values() for view in each}
        if budget is None:
            return {}
        draw = partial(draw_positions, images, total=self._total, budget=budget, seed=seed)
        return {of: draw(of=of) for of in counts if of > budget}

    def _take(
        self, network: Network, views: Mapping[str, Sequence[View]], path: str, output: Tensor
    ) -> dict[View, Tensor]:
        taken = {}
        for view in views[path]:
            samples = take(network.read(view.layer, output), view.grid, self._drawn.get(view.positions))
            taken[view] = samples if view.draw is None else self._some_channels(samples, view.draw)
        return taken

    def _some_channels(self, samples: Tensor, draw: int) -> Tensor:
        sampling = self._options.sampling
        budget = sampling.channels or samples.shape[2]
        return samples[:, :, draw_channels(samples.shape[2], budget=budget, draw=draw, seed=sampling.seed)]
