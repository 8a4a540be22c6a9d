"""Kind `compare`: one similarity measurement between two checkpoints, on the probe images."""

from dataclasses import asdict
from difflib import get_close_matches
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.data.sampling import probe_digest, probe_indices
from transfusion_core.science.models.build import first_convs
from transfusion_core.science.models.layers import channels_last_output, layers, stages
from transfusion_core.science.movement import filter_correlations, weight_movement
from transfusion_core.science.similarity import compare
from transfusion_core.science.training.batches import normalise
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.check import DEFAULT_PROBE_IMAGES
from transfusion_core.specs.comparison import ComparisonResult, PairResult, ProbeSet, WeightMovement
from transfusion_core.specs.job import CompareJob
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint, load
from transfusion_worker.jobs.dataset import LoadedDataset, load_dataset
from transfusion_worker.jobs.environment import device_of

BATCH_SIZE = 64
"""Images per forward pass; results do not depend on it."""


def run(context: JobContext) -> dict[str, Any]:
    """Where the ComparisonResult lies in the store (`report`), its `probe_set`, and how much it says (`summary`)."""
    job = CompareJob.read(context.spec)
    dataset = load_dataset(context, job.dataset, image_size=job.image_size)
    a, b = load(context, job.a), load(context, job.b)
    rows = _probe_rows(dataset, job)
    result = _measure(context, job, (a, b), dataset.images[rows])
    result = result.model_copy(
        update={
            "probe_set": ProbeSet(
                digest=probe_digest(rows, dataset=dataset.found.digest, image_size=job.image_size), images=len(rows)
            )
        }
    )
    path = context.scratch / "similarity-report.json"
    path.write_text(result.model_dump_json())
    stored = context.put(path, path.name)
    summary = {"results": len(result.results), "weights": len(result.weights), "filters": len(result.filters)}
    return {"report": stored.model_dump(), "probe_set": result.probe_set.model_dump(), "summary": summary}


def _probe_rows(dataset: LoadedDataset, job: CompareJob) -> Tensor:
    test = dataset.pack.indices("test")
    return probe_indices(test, job.images or min(DEFAULT_PROBE_IMAGES, len(test)), seed=job.seed)


def _measure(
    context: JobContext, job: CompareJob, sides: tuple[LoadedCheckpoint, LoadedCheckpoint], images: Tensor
) -> ComparisonResult:
    device = device_of(context)
    models = [_network(side, device) for side in sides]
    layers_a, layers_b = (_layers(model, side.about, job) for model, side in zip(models, sides, strict=True))
    with memory_errors(f"comparing on {len(images)} images"):
        found = compare(
            models[0],
            models[1],
            images,
            pairs=_pairs(layers_a, layers_b, job),
            measures=job.measures,
            positions_per_image=job.positions_per_image,
            batch_size=BATCH_SIZE,
            seed=job.seed,
            variance=job.variance,
            channels_last_a=[name for name in layers_a if channels_last_output(models[0], name)],
            channels_last_b=[name for name in layers_b if channels_last_output(models[1], name)],
            progress=partial(_progress, context),
        )
    return ComparisonResult(
        probe_set=ProbeSet(digest="", images=len(images)),
        layers_a=layers_a,
        layers_b=layers_b,
        results=[PairResult.model_validate(asdict(result)) for result in found],
        weights=_movement(models[0], sides),
        filters=_filters(models[0], sides),
    )


def _progress(context: JobContext, done: int, total: int) -> None:
    context.progress("compare", step=done, steps=total)
    if context.should_stop():
        raise JobCancelled


def _network(side: LoadedCheckpoint, device: torch.device) -> nn.Module:
    """The network, which takes raw pixels and normalises them as its own training did."""
    model, about = side.build().to(device), side.about
    mean, std = torch.tensor(about.mean), torch.tensor(about.std)
    model.register_forward_pre_hook(lambda module, inputs: (normalise(inputs[0], mean=mean, std=std),))
    return model


def _layers(model: nn.Module, about: About, job: CompareJob) -> list[str]:
    if job.layers == "stages":
        return stages(model)
    known = layers(model, image_size=job.image_size)
    unknown = [name for name in job.layers if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=3, cutoff=0.0)
        raise DataError(f"{about.model} has no layer '{unknown[0]}' to compare; near to it: {', '.join(near)}")
    return list(job.layers)


def _pairs(layers_a: list[str], layers_b: list[str], job: CompareJob) -> list[tuple[str, str]]:
    if job.pairs == "all":
        return list(product(layers_a, layers_b))
    if len(layers_a) != len(layers_b):
        raise DataError(f"'diagonal' pairs need equally many layers, got {len(layers_a)} and {len(layers_b)}")
    return list(zip(layers_a, layers_b, strict=True))


def _same_network(sides: tuple[LoadedCheckpoint, LoadedCheckpoint]) -> bool:
    shapes = [{name: tensor.shape for name, tensor in side.weights.items()} for side in sides]
    return shapes[0] == shapes[1]


def _movement(model: nn.Module, sides: tuple[LoadedCheckpoint, LoadedCheckpoint]) -> list[WeightMovement]:
    """From the weights of `a` to those of `b`, input to output; empty where they are not of one network."""
    if not _same_network(sides):
        return []
    before, after = ({name: side.weights[name] for name in model.state_dict()} for side in sides)
    moved = weight_movement(before, after)
    return [
        WeightMovement(
            layer=_name(one.layer, one.tensor), relative_l2=one.relative_l2, cosine=one.cosine, reason=one.reason
        )
        for one in moved
    ]


def _name(layer: str, tensor: str) -> str:
    """A layer's weight goes by the layer's name, anything else by its own."""
    return layer if layer and tensor == "weight" else f"{layer}.{tensor}".lstrip(".")


def _filters(model: nn.Module, sides: tuple[LoadedCheckpoint, LoadedCheckpoint]) -> list[float | None]:
    names = [f"{name}.weight" for name in first_convs(model)]
    found = [[side.weights.get(name) for side in sides] for name in names[:1]]
    for before, after in found:
        if before is not None and after is not None and before.shape == after.shape and before.ndim > 1:
            return filter_correlations(before, after)
    return []
