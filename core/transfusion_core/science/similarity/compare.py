"""Comparing layers of networks on the same images, in one pass over the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

from torch import nn

from transfusion_core.science.similarity.collect import Collected, collect
from transfusion_core.science.similarity.evaluate import PairResult, evaluate
from transfusion_core.science.similarity.measures import require_measures
from transfusion_core.science.similarity.network import Network
from transfusion_core.science.similarity.options import Images, LayerPair, Options

Layers: TypeAlias = Sequence[str]
Pairs: TypeAlias = Literal["diagonal", "all"] | Sequence[tuple[str, str]]

_DEFAULTS = Options()


def compare(
    model_a: nn.Module | Network,
    model_b: nn.Module | Network,
    images: Images,
    *,
    layers: Layers = (),
    layers_b: Layers | None = None,
    pairs: Pairs = "diagonal",
    measures: Sequence[str] = ("cca", "svcca", "cka"),
    variance: float = 0.99,
    options: Options = _DEFAULTS,
) -> list[PairResult]:
    """Compare layers of model_a with layers of model_b by every measure named; results come pair by pair.

    `images`: (n, c, h, w), or anything sliced into such tensors, in an order that means nothing: neighbours are what
    the intervals and the permutation null take for random others. `layers`: module paths, `layers_b` where those of
    the second model are others; `layer[class]` is a transformer's class token. `pairs`: `diagonal` takes the layers one
    by one, `all` every one with every other, else (of model_a, of model_b) as listed, and `layers` is not needed.

    Both models see every image once; a model compared with itself runs once. Models run in evaluation mode, without
    gradients. Whatever `options.batch_size` is, the results are the same.

    Raises ValueError for an unknown measure, for no images or no pairs, for a diagonal of unequal lengths, and where
    one model comes as two networks that are to be read differently; `UnknownLayer` for an unknown layer. A measure
    that refuses for want of samples, and a layer with NaN or infinite outputs, give a result without a value.
    """
    return compare_checkpoints(
        model_a,
        [model_b],
        images,
        layers=layers,
        layers_b=layers_b,
        pairs=pairs,
        measures=measures,
        variance=variance,
        options=options,
    )[0]


def compare_checkpoints(
    reference: nn.Module | Network,
    checkpoints: Sequence[nn.Module | Network],
    images: Images,
    *,
    layers: Layers = (),
    layers_b: Layers | None = None,
    pairs: Pairs = "diagonal",
    measures: Sequence[str] = ("cca", "svcca", "cka"),
    variance: float = 0.99,
    options: Options = _DEFAULTS,
) -> list[list[PairResult]]:
    """Compare a reference with each of several checkpoints, as `compare` does; every model runs once."""
    require_measures(measures)
    asked = Comparisons.of(reference, checkpoints, layer_pairs(layers, layers if layers_b is None else layers_b, pairs))
    return asked.evaluate(asked.collect(images, options), measures, variance=variance)


@dataclass(frozen=True)
class Comparisons:
    """A reference beside each of several checkpoints: what `compare_checkpoints` does, for who does it in parts.

    `networks`: each once; `pairs`: the layer pairs of each checkpoint.
    """

    networks: list[Network]
    pairs: list[list[LayerPair]]

    @classmethod
    def of(
        cls,
        reference: nn.Module | Network,
        checkpoints: Sequence[nn.Module | Network],
        pairs: Sequence[tuple[str, str]],
    ) -> "Comparisons":
        """The same pairs of layers, (of the reference, of the checkpoint), for every checkpoint."""
        networks = _distinct([reference, *checkpoints])
        number = {id(network.model): index for index, network in enumerate(networks)}
        numbers = [number[id(Network.of(checkpoint).model)] for checkpoint in checkpoints]
        return cls(networks, [[LayerPair(0, a, number, b) for a, b in pairs] for number in numbers])

    def collect(self, images: Images, options: Options) -> Collected:
        """Sum over the images, or over the part of them that `options` name."""
        return collect(self.networks, [pair for each in self.pairs for pair in each], images, options)

    def evaluate(
        self, collected: Collected, measures: Sequence[str], *, variance: float = 0.99
    ) -> list[list[PairResult]]:
        """Work out the results of each checkpoint from the sums over all of the images."""
        found = evaluate(collected, measures, variance=variance)
        return [[result for pair in each for result in found[pair]] for each in self.pairs]


def _distinct(given: Sequence[nn.Module | Network]) -> list[Network]:
    """Each model once, in order. What a network says of its outputs holds wherever its model comes plain."""
    told: dict[int, Network] = {}
    for network in given:
        if isinstance(network, Network) and not told.setdefault(id(network.model), network).reads_as(network):
            raise ValueError(
                f"one {type(network.model).__name__} comes as two networks that are to be read differently"
            )
    models = [Network.of(each).model for each in given]
    return list({id(model): told.get(id(model)) or Network(model) for model in models}.values())


def layer_pairs(of_a: Layers, of_b: Layers, pairs: Pairs) -> list[tuple[str, str]]:
    """Return the pairs of layers that are asked for, (of the first network, of the second).

    Raises ValueError for a diagonal of unequal lengths.
    """
    if not isinstance(pairs, str):
        return list(pairs)
    if pairs == "all":
        return list(product(of_a, of_b))
    if len(of_a) != len(of_b):
        raise ValueError(f"'diagonal' pairs need equally many layers, got {len(of_a)} and {len(of_b)}")
    return list(zip(of_a, of_b, strict=True))
