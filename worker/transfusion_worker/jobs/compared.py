"""What a comparison looks at: two checkpoints (and those between them), their layers, and the probe images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.data.sampling import probe_digest, probe_indices
from transfusion_core.science.models.layers import channels_last_output, probe, select_layers, select_stages
from transfusion_core.science.models.tokens import class_token_layers, prefix_tokens, without_prefix
from transfusion_core.science.seeds import derive
from transfusion_core.science.similarity import (
    Collected,
    Comparisons,
    Network,
    Options,
    Part,
    Sampling,
    layer_pairs,
)
from transfusion_core.science.training.batches import normalise
from transfusion_core.specs.check import DEFAULT_PROBE_IMAGES
from transfusion_core.specs.comparison import Layers
from transfusion_core.specs.job import CheckpointRef, CompareJob
from transfusion_core.specs.keys import digest
from transfusion_core.specs.model import layer_names
from transfusion_core.specs.training import TrainResult
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint, load
from transfusion_worker.jobs.dataset import load_dataset
from transfusion_worker.jobs.environment import device_of

UNTRAINED_EPOCH = 4
"""Raised when the values of untrained networks may change: they are kept by what they were asked for."""
BATCH_SIZE = 64
"""Images per forward pass; results do not depend on it."""
WHOLE = Part()


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


@dataclass(frozen=True)
class Compared:
    """The networks of a comparison on the device of its worker, and what is to be summed of them."""

    context: JobContext
    job: CompareJob
    sides: Sequence[LoadedCheckpoint]
    """`a`, `b` and the checkpoints between them."""
    networks: Sequence[Network]
    """One for each side."""
    layers_a: list[str]
    layers_b: list[str]
    pairs: list[tuple[str, str]]
    images: ProbeImages
    probe_set: str
    """Digest of the probe images."""

    @cached_property
    def comparisons(self) -> Comparisons:
        """Of `a` with every other side."""
        return Comparisons.of(self.networks[0], self.networks[1:], self.pairs)

    @cached_property
    def untrained(self) -> Comparisons:
        """Of two fresh random networks, as `a` and `b` were before anything."""
        device = device_of(self.context)
        a, b = (
            _network(
                side.build_untrained(seed=derive(self.job.seed, f"untrained {place}")), side.about, device, self.job
            )
            for place, side in zip("ab", self.sides[:2], strict=True)
        )
        return Comparisons.of(a, [b], self.pairs)

    def collect(self, part: Part = WHOLE) -> Collected:
        """The sums over a part of the images."""
        return self.comparisons.collect(self.images, self._options(part))

    def collect_untrained(self, part: Part = WHOLE) -> Collected:
        """The same of the untrained networks, of which values alone are asked."""
        return self.untrained.collect(self.images, replace(self._options(part), intervals=False, permute=False))

    def kept_untrained(self, suffix: str, *, without: frozenset[str] = frozenset()) -> Path:
        """Where this worker keeps what it found of the untrained networks, by all that it depends on: models, probe
        images and how they are compared, but for the fields `without`.
        """
        about = [asdict(side.about) | {"step": 0, "dataset": ""} for side in self.sides[:2]]
        asked = self.job.model_dump(mode="json", exclude={"a", "b", "dataset", *without})
        name = digest([UNTRAINED_EPOCH, about, asked, self.probe_set])
        return self.context.settings.cache_dir / "untrained" / f"{name}{suffix}"

    def _options(self, part: Part) -> Options:
        return Options(
            sampling=_sampling(self.job, len(self.images)), batch_size=BATCH_SIZE, gemm=self.job.precision, part=part,
            intervals=self.job.nulls, permute=self.job.nulls, progress=partial(_progress, self.context),
        )  # fmt: skip


def read(context: JobContext, job: CompareJob) -> Compared:
    """What a job compares, or a part of it sums: fetched, and checked for having the layers."""
    dataset = load_dataset(context, job.dataset, image_size=job.image_size)
    sides = [load(context, ref) for ref in (job.a, job.b, *_between(context, job))]
    test = dataset.annotations.indices("test")
    rows = probe_indices(test, job.images or min(DEFAULT_PROBE_IMAGES, len(test)), seed=job.seed)
    probe_set = probe_digest(rows, dataset=dataset.found.digest, image_size=job.image_size)
    return prepare(context, job, sides, ProbeImages(dataset.images, rows), probe_set)


def prepare(
    context: JobContext, job: CompareJob, sides: Sequence[LoadedCheckpoint], images: ProbeImages, probe_set: str
) -> Compared:
    """The same of what was fetched already. DataError for layers that are not there, or that no pairs are made of."""
    networks = _networks(sides, device_of(context), job)
    a, b = (
        _layers(networks[at].model, sides[at].about, asked, image_size=job.image_size)
        for at, asked in enumerate(_asked(job))
    )
    return Compared(context, job, sides, networks, a, b, _pairs(a, b, job), images, probe_set)


def _between(context: JobContext, job: CompareJob) -> list[CheckpointRef]:
    """The checkpoints that the run of `a` and `b` kept on the way from one to the other."""
    if not job.through:
        return []
    kept = TrainResult.model_validate(context.need(job.a.run).result).checkpoints
    ends = (job.a.checkpoint, job.b.checkpoint)
    return [CheckpointRef(run=job.a.run, checkpoint=each.name) for each in kept if each.name not in ends]


def _sampling(job: CompareJob, images: int) -> Sampling:
    if job.protocol == "paper":
        return Sampling.paper(images, seed=job.seed)
    return Sampling(job.positions_per_image if job.spatial == "sampled" else None, job.seed)


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


def _asked(job: CompareJob) -> tuple[Layers, Layers]:
    """The layers of `a` and of `b`; of a list of pairs each once, in its order."""
    if isinstance(job.pairs, str):
        return job.layers, job.layers if job.layers_b is None else job.layers_b
    of_a, of_b = (list(dict.fromkeys(names)) for names in zip(*job.pairs, strict=True))
    return of_a, of_b


def _layers(model: nn.Module, about: About, asked: Layers, *, image_size: int) -> list[str]:
    seen = probe(model, image_size=image_size)
    if asked == "stages":
        return select_stages(model, seen)
    known = layer_names(select_layers(model, seen), class_token_layers(model, seen))
    unknown = [name for name in asked if name not in known]
    if unknown:
        near = get_close_matches(unknown[0], known, n=3, cutoff=0.0)
        raise DataError(f"{about.model} has no layer '{unknown[0]}' to compare; near to it: {', '.join(near)}")
    return list(asked)


def _pairs(layers_a: list[str], layers_b: list[str], job: CompareJob) -> list[tuple[str, str]]:
    try:
        return layer_pairs(layers_a, layers_b, job.pairs)
    except ValueError as error:
        raise DataError(str(error)) from error
