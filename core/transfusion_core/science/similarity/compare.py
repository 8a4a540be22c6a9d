"""Comparing layers of two models on the same images, in one pass over the images."""

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Self, TypeAlias

import torch
from torch import Tensor, nn

from transfusion_core.science.similarity.guard import NonFiniteActivations, TooFewSamples
from transfusion_core.science.similarity.measures import MEASURES, Measured
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.samples import SamplePair, channels_first, to_samples
from transfusion_core.science.similarity.taps import Taps, evaluating

Pair: TypeAlias = tuple[str, str]


@dataclass(frozen=True)
class PairResult:
    """One measure of one pair of layers.

    `value` is None, with a `reason`, where the measure does not exist or refuses. `n` counts samples: images
    times positions per image. The positions of one image are not independent, so intervals must be over
    images, never over n. `p`, `q`: neurons of the layers; `kept_a`, `kept_b`: directions that took part,
    None where the measure cuts none. `null_iid`: the value of independent Gaussian noise at these sizes.
    """

    layer_a: str
    layer_b: str
    measure: str
    value: float | None
    reason: str | None
    n: int
    p: int
    q: int
    kept_a: int | None
    kept_b: int | None
    null_iid: float | None
    warnings: list[str]


def compare(
    model_a: nn.Module,
    model_b: nn.Module,
    images: Tensor | Sequence[Tensor],
    *,
    pairs: Sequence[Pair],
    measures: Sequence[str],
    positions_per_image: int,
    batch_size: int,
    seed: int,
    variance: float = 0.99,
    channels_last_a: Collection[str] = (),
    channels_last_b: Collection[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[PairResult]:
    """Compare layer pairs (of model_a, of model_b) by every measure named; results come pair by pair.

    `images`: (n, c, h, w), or a sequence of such chunks, each read once and run in batches of at most
    `batch_size`; both models see every image once, a model compared with itself runs once. Models run in
    evaluation mode, without gradients or autocast, where and in the precision in which their weights are.
    `channels_last_a` and `channels_last_b` name layers that put out (n, h, w, c). `seed` draws the positions
    (see `to_samples`); the results do not depend on `batch_size`. `progress(done, total)` counts chunks, or
    batches when `images` is one tensor.

    Raises ValueError for an unknown measure or no images, `UnknownLayer` for an unknown layer. A measure
    that refuses for want of samples, and a layer with NaN or infinite outputs, give a result without a
    value.
    """
    unknown = [name for name in measures if name not in MEASURES]
    if unknown:
        raise ValueError(f"unknown measures {unknown}; known are {', '.join(MEASURES)}")
    chunks: Sequence[Tensor] = torch.split(images, batch_size) if isinstance(images, Tensor) else images
    gathered = {pair: _Gathered() for pair in pairs}
    draw = partial(to_samples, positions_per_image=positions_per_image, seed=seed)
    with _Reader(model_a, model_b, pairs, channels_last_a=channels_last_a, channels_last_b=channels_last_b) as reader:
        first_image = 0
        for done, chunk in enumerate(chunks, start=1):
            for batch in torch.split(chunk, batch_size):
                if len(batch) == 0:
                    continue
                of_a, of_b = reader.read(batch)
                for (layer_a, layer_b), gathering in gathered.items():
                    gathering.add(draw(of_a[layer_a], of_b[layer_b], first_image=first_image))
                first_image += len(batch)
            if progress is not None:
                progress(done, len(chunks))
    return [gathered[pair].result(pair, name, variance) for pair in pairs for name in measures]


class _Reader:
    """Runs both models, or the one when they are the same, on a batch and returns their layers' outputs."""

    def __init__(
        self,
        model_a: nn.Module,
        model_b: nn.Module,
        pairs: Sequence[Pair],
        *,
        channels_last_a: Collection[str],
        channels_last_b: Collection[str],
    ) -> None:
        layers_a, layers_b = {a for a, _ in pairs}, {b for _, b in pairs}
        self._models = [model_a] if model_a is model_b else [model_a, model_b]
        layers = [layers_a | layers_b] if model_a is model_b else [layers_a, layers_b]
        self._taps = [Taps(model, sorted(names)) for model, names in zip(self._models, layers, strict=True)]
        self._channels_last = [set(channels_last_a), set(channels_last_b)]
        if model_a is model_b:
            self._channels_last = [self._channels_last[0] | self._channels_last[1]]
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for model, taps in zip(self._models, self._taps, strict=True):
                stack.enter_context(evaluating(model))
                stack.enter_context(taps)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def read(self, batch: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        outputs = []
        for model, taps, channels_last in zip(self._models, self._taps, self._channels_last, strict=True):
            _run(model, batch)
            taken = taps.take()
            outputs.append({name: channels_first(t) if name in channels_last else t for name, t in taken.items()})
        return outputs[0], outputs[-1]


def _run(model: nn.Module, batch: Tensor) -> None:
    """Run a model where its weights are and in their dtype, whatever autocast surrounds the call."""
    weight = next(model.parameters(), torch.empty(0))
    with torch.inference_mode(), torch.autocast(weight.device.type, enabled=False):
        model(batch.to(weight))


class _Gathered:
    """The moments of one pair so far, and what has gone wrong with them."""

    def __init__(self) -> None:
        self._moments: Moments | None = None
        self._broken: str | None = None

    def add(self, samples: SamplePair) -> None:
        """Add samples; after NaN or infinity the pair has no value any more."""
        if self._moments is None:
            device = samples.x.device if samples.x.is_cuda else "cpu"  # other accelerators have no float64
            self._moments = Moments(samples.x.shape[1], samples.y.shape[1], device=device)
        try:
            self._moments.update(samples.x, samples.y)
        except NonFiniteActivations as error:
            self._broken = str(error)

    def result(self, pair: Pair, measure: str, variance: float) -> PairResult:
        """Evaluate one measure, a refusal turned into its reason."""
        if self._moments is None:
            raise ValueError("there are no images to compare the layers on")
        try:
            measured = Measured(None, self._broken) if self._broken else MEASURES[measure](self._moments, variance)
        except TooFewSamples as error:
            measured = Measured(None, str(error))
        return PairResult(
            layer_a=pair[0],
            layer_b=pair[1],
            measure=measure,
            value=measured.value,
            reason=measured.reason,
            n=self._moments.n,
            p=self._moments.p,
            q=self._moments.q,
            kept_a=measured.kept_x,
            kept_b=measured.kept_y,
            null_iid=measured.null_iid,
            warnings=measured.warnings,
        )
