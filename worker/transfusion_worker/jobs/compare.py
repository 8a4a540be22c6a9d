"""Kind `compare`: one similarity measurement between two checkpoints, on the probe images."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.data.sampling import probe_digest, probe_indices
from transfusion_core.science.models.layers import channels_last_output, probe, select_layers, select_stages
from transfusion_core.science.models.tokens import class_token_layers, prefix_tokens, without_prefix
from transfusion_core.science.movement import filter_correlations, weight_movement
from transfusion_core.science.seeds import derive
from transfusion_core.science.similarity import Network, Options, Sampling, compare_checkpoints, layer_pairs
from transfusion_core.science.similarity import PairResult as Measured
from transfusion_core.science.training.batches import normalise
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.check import DEFAULT_PROBE_IMAGES
from transfusion_core.specs.comparison import Between, ComparisonResult, PairResult, ProbeSet, WeightMovement
from transfusion_core.specs.job import CheckpointRef, CompareJob
from transfusion_core.specs.keys import digest
from transfusion_core.specs.model import layer_names
from transfusion_core.specs.training import TrainResult
from transfusion_core.store.files import whole
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint, load
from transfusion_worker.jobs.dataset import LoadedDataset, load_dataset
from transfusion_worker.jobs.environment import device_of
from transfusion_worker.jobs.filters import filters_of, picture

Place: TypeAlias = tuple[str, str, str]
"""Layer of a, layer of b, measure."""
UNTRAINED_EPOCH = 3
"""Raised when the values of untrained networks may change: they are kept by what they were asked for."""
BATCH_SIZE = 64
"""Images per forward pass; results do not depend on it."""


@dataclass(frozen=True)
class ProbeImages:
    """The probe images, gathered from the mapped pixels batch by batch: as many as can be asked for would not fit."""

    images: Tensor
    """Of the whole dataset, (n, c, h, w)."""
    rows: Tensor

    def __len__(self) -> int:
        """How many there are."""
        return len(self.rows)

    def __getitem__(self, part: slice, /) -> Tensor:
        """Some of them."""
        return self.images[self.rows[part]]


def run(context: JobContext) -> dict[str, Any]:
    """Where the ComparisonResult lies in the store (`report`), its `probe_set`, and how much it says (`summary`)."""
    job = CompareJob.read(context.spec)
    dataset = load_dataset(context, job.dataset, image_size=job.image_size)
    sides = [load(context, ref) for ref in (job.a, job.b, *_between(context, job))]
    rows = _probe_rows(dataset, job)
    probe_set = probe_digest(rows, dataset=dataset.found.digest, image_size=job.image_size)
    result = _measure(context, job, sides, ProbeImages(dataset.images, rows), probe_set)
    path = context.scratch / "similarity-report.json"
    path.write_text(result.model_dump_json())
    stored = context.put(path, path.name)
    summary = {"results": len(result.results), "weights": len(result.weights), "filters": len(result.filters)}
    return {"report": stored.model_dump(), "probe_set": result.probe_set.model_dump(), "summary": summary}


def _probe_rows(dataset: LoadedDataset, job: CompareJob) -> Tensor:
    test = dataset.annotations.indices("test")
    return probe_indices(test, job.images or min(DEFAULT_PROBE_IMAGES, len(test)), seed=job.seed)


def _between(context: JobContext, job: CompareJob) -> list[CheckpointRef]:
    """The checkpoints that the run of `a` and `b` kept on the way from one to the other."""
    if not job.through:
        return []
    kept = TrainResult.model_validate(context.need(job.a.run).result).checkpoints
    ends = (job.a.checkpoint, job.b.checkpoint)
    return [CheckpointRef(run=job.a.run, checkpoint=each.name) for each in kept if each.name not in ends]


def _measure(
    context: JobContext, job: CompareJob, sides: Sequence[LoadedCheckpoint], images: ProbeImages, probe_set: str
) -> ComparisonResult:
    device = device_of(context)
    networks = _networks(sides, device, job)
    a, b = (_layers(network.model, side.about, job) for network, side in zip(networks[:2], sides[:2], strict=True))
    pairs = _pairs(a, b, job)
    options = Options(
        sampling=_sampling(job, len(images)), batch_size=BATCH_SIZE, gemm=job.precision,
        intervals=job.nulls, permute=job.nulls, progress=partial(_progress, context),
    )  # fmt: skip
    measure = partial(compare_checkpoints, images=images, pairs=pairs, measures=job.measures, variance=job.variance)
    with memory_errors(f"comparing on {len(images)} images"):
        found, *passed = measure(networks[0], networks[1:], options=options)
        floor = _untrained(context, job, sides[:2], probe_set, measure, options) if job.nulls else {}
    filters = _filters(networks[0].model, sides[:2])
    return ComparisonResult(
        probe_set=ProbeSet(digest=probe_set, images=len(images)),
        layers_a=a,
        layers_b=b,
        results=[_recorded(result, floor) for result in found],
        weights=_movement(networks[0].model, sides[:2]),
        filters=filter_correlations(*filters) if filters else [],
        filter_pictures=[picture(each) for each in filters],
        between=[
            Between(
                step=side.about.step,
                results=[_recorded(result, floor) for result in results],
                weights=_movement(networks[0].model, (sides[0], side)),
            )
            for side, results in zip(sides[2:], passed, strict=True)
        ],
    )


def _recorded(result: Measured, floor: dict[Place, float | None]) -> PairResult:
    place = (result.layer_a, result.layer_b, result.measure)
    return PairResult(**asdict(result), null_untrained=floor.get(place))


def _sampling(job: CompareJob, images: int) -> Sampling:
    if job.protocol == "paper":
        return Sampling.paper(images, seed=job.seed)
    return Sampling(job.positions_per_image if job.spatial == "sampled" else None, job.seed)


def _untrained(
    context: JobContext,
    job: CompareJob,
    sides: Sequence[LoadedCheckpoint],
    probe_set: str,
    measure: Callable[..., list[list[Measured]]],
    options: Options,
) -> dict[Place, float | None]:
    """The same comparison between two fresh random networks: worked out once for all comparisons of these models."""
    about = [asdict(side.about) | {"step": 0, "dataset": ""} for side in sides]
    asked = job.model_dump(mode="json", exclude={"a", "b", "dataset"})
    kept = context.settings.cache_dir / "untrained" / f"{digest([UNTRAINED_EPOCH, about, asked, probe_set])}.json"
    with suppress(FileNotFoundError):
        told = kept.read_text()
        os.utime(kept)  # its last use
        return {(a, b, name): value for a, b, name, value in json.loads(told)}
    device = device_of(context)
    networks = [
        _network(side.build_untrained(seed=derive(job.seed, f"untrained {place}")), side.about, device, job)
        for place, side in zip("ab", sides, strict=True)
    ]
    (found,) = measure(networks[0], networks[1:], options=replace(options, intervals=False, permute=False))
    rows = [(result.layer_a, result.layer_b, result.measure, result.value) for result in found]
    with whole(kept) as path:
        path.write_text(json.dumps(rows))
    return {(a, b, name): value for a, b, name, value in rows}


def _progress(context: JobContext, done: int, total: int) -> None:
    context.progress("compare", step=done, steps=total)
    if context.should_stop():
        raise JobCancelled


def _networks(sides: Sequence[LoadedCheckpoint], device: torch.device, job: CompareJob) -> list[Network]:
    """One for each side; sides that are the same checkpoint share theirs, which the engine then runs once."""
    built: dict[str, Network] = {}
    keys = [digest([side.sha256, asdict(side.about)]) for side in sides]
    for key, side in zip(keys, sides, strict=True):
        if key not in built:
            built[key] = _network(side.build(), side.about, device, job)
    return [built[key] for key in keys]


def _network(model: nn.Module, about: About, device: torch.device, job: CompareJob) -> Network:
    """The network, which takes raw pixels and normalises them as its own training did."""
    bare = without_prefix(model, image_size=job.image_size)
    mean, std = torch.tensor(about.mean), torch.tensor(about.std)
    model.to(device)
    model.register_forward_pre_hook(lambda module, inputs: (normalise(inputs[0], mean=mean, std=std),))
    last = [name for name, _ in model.named_modules() if name and channels_last_output(model, name)]
    return Network(model, channels_last=frozenset(last), prefix_tokens=prefix_tokens(model), without_prefix=bare)


def _layers(model: nn.Module, about: About, job: CompareJob) -> list[str]:
    seen = probe(model, image_size=job.image_size)
    if job.layers == "stages":
        return select_stages(model, seen)
    known = layer_names(select_layers(model, seen), class_token_layers(model, seen))
    unknown = [name for name in job.layers if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=3, cutoff=0.0)
        raise DataError(f"{about.model} has no layer '{unknown[0]}' to compare; near to it: {', '.join(near)}")
    return list(job.layers)


def _pairs(layers_a: list[str], layers_b: list[str], job: CompareJob) -> list[tuple[str, str]]:
    try:
        return layer_pairs(layers_a, layers_b, job.pairs)
    except ValueError as error:
        raise DataError(str(error)) from error


def _same_network(sides: Sequence[LoadedCheckpoint]) -> bool:
    shapes = [{name: tensor.shape for name, tensor in side.weights.items()} for side in sides]
    return shapes[0] == shapes[1]


def _movement(model: nn.Module, sides: Sequence[LoadedCheckpoint]) -> list[WeightMovement]:
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


def _filters(model: nn.Module, sides: Sequence[LoadedCheckpoint]) -> list[Tensor]:
    """The first convolution's filters of both sides; none where there are none, or none that could be paired."""
    found = [filters for side in sides if (filters := filters_of(model, side.weights)) is not None]
    return found if len(found) == 2 and found[0].shape == found[1].shape else []
