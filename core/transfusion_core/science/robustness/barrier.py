"""The straight line between the weights of two networks: whether they lie in one basin.

Neyshabur, Sedghi and Zhang 2020, arXiv 2008.11687; Frankle et al. 2020, arXiv 1912.05671. Networks that share a
pretrained start have no barrier between them where the features are reused; two random starts have one.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from transfusion_core.errors import DataError
from transfusion_core.science.models.layers import evaluating
from transfusion_core.science.training.batches import TrainingData
from transfusion_core.science.training.evaluation import evaluate
from transfusion_core.science.training.feeding import Part, feed
from transfusion_core.specs.dataset import Task
from transfusion_core.specs.robustness import Barrier, BarrierResult, LinePoint

Weights = Mapping[str, Tensor]

SETTLING_BATCH = 64
"""Images per pass when batch norm settles."""


@dataclass(frozen=True, eq=False)
class End:
    """A network at an end of the line: its weights, and what its input was normalised by, float32 (3,)."""

    weights: Weights
    mean: Tensor
    std: Tensor


def walk(
    model: nn.Module,
    ends: tuple[End, End],
    data: TrainingData,
    *,
    points: int,
    task: Task,
    device: torch.device,
) -> Iterator[LinePoint]:
    """Loss and AUROC on the test split at so many evenly spaced points, the ends among them; `model` changes.

    Batch norm's statistics are estimated anew on the train images at every point, for those of the ends mean nothing
    between them (Jordan et al. 2022, arXiv 2211.08403); at the ends too, so that all points are measured alike.
    Normalisation goes from that of the one end to that of the other with the weights.
    """
    a, b = ends
    for place in range(points):
        at = place / (points - 1)
        model.load_state_dict(between(a.weights, b.weights, at=at))
        here = replace(data, mean=a.mean.lerp(b.mean, at), std=a.std.lerp(b.std, at))
        settle(model, here, device=device)
        found = evaluate(model, here, task=task, split="test", device=device)
        yield LinePoint(at=at, loss=found.loss, auroc=found.auroc, reason=found.reason)


def between(a: Weights, b: Weights, *, at: float) -> dict[str, Tensor]:
    """(1 - at) a + at b; what is counted, not measured, is a's. DataError where they are not of one network."""
    shapes = [{name: tuple(tensor.shape) for name, tensor in end.items()} for end in (a, b)]
    other = sorted(name for name in shapes[0].keys() | shapes[1].keys() if shapes[0].get(name) != shapes[1].get(name))
    if other:
        got = " and ".join(str(side.get(other[0], "none")) for side in shapes)
        raise DataError(f"expected two networks of the same tensors, got {got} for '{other[0]}'")
    return {
        name: torch.lerp(tensor, b[name], at) if tensor.is_floating_point() else tensor for name, tensor in a.items()
    }


def settle(model: nn.Module, data: TrainingData, *, device: torch.device) -> None:
    """Set the running statistics of every batch norm to the plain mean over batches of the train images."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return
    if len(data.train) < 2:
        raise DataError(f"expected at least 2 train images to estimate batch norm on, got {len(data.train)}")
    momenta = [norm.momentum for norm in norms]
    with evaluating(model), torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # counts every batch alike
            norm.train()
        chunks = data.train.chunk(math.ceil(len(data.train) / SETTLING_BATCH))
        with feed(data, map(Part, chunks), device=device) as batches:
            for images in batches:
                model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def crossed(points: Sequence[LinePoint]) -> BarrierResult:
    """The line with its barriers: the most by which loss is above, AUROC below, the straight line between its ends."""
    return BarrierResult(points=list(points), loss=_barrier(points, "loss"), auroc=_barrier(points, "auroc"))


def _barrier(points: Sequence[LinePoint], name: Literal["loss", "auroc"]) -> Barrier:
    values = [getattr(point, name) for point in points]
    if None in values:
        point = points[values.index(None)]
        return Barrier(reason=f"no {name} at {point.at:.2f} of the way: {point.reason or 'no labels'}")
    worse = 1 if name == "loss" else -1
    straight = [values[0] + point.at * (values[-1] - values[0]) for point in points]
    above = [worse * (value - line) for value, line in zip(values, straight, strict=True)]
    return Barrier(value=max(0.0, *above[1:-1]))
