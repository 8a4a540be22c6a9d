"""Kind `probe`: what one trained network holds, stage by stage, and what it makes of shuffled blocks."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, JobCancelled
from transfusion_core.science.data import sampling
from transfusion_core.science.models.layers import stages
from transfusion_core.science.robustness import block_shuffled, probe_layers, probed_layers, reset_stages
from transfusion_core.science.seeds import derive
from transfusion_core.science.training.batches import Sampling, TrainingData, to_device
from transfusion_core.science.training.evaluation import evaluate
from transfusion_core.science.training.execution import numerics
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.job import CheckpointRef
from transfusion_core.specs.robustness import ProbeJob, ProbeResult, Score
from transfusion_core.specs.training import TrainingSpec
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import About, LoadedCheckpoint, load
from transfusion_worker.jobs.dataset import LoadedDataset, load_dataset
from transfusion_worker.jobs.environment import device_of


def run(context: JobContext) -> dict[str, Any]:
    """A ProbeResult."""
    job = ProbeJob.read(context.spec)
    dataset = load_dataset(context, job.dataset, image_size=job.image_size)
    start, final = (load(context, CheckpointRef(run=job.run, checkpoint=name)) for name in ("init", "final"))
    data = probe_data(dataset, final.about, images=job.images, seed=job.seed)
    device = device_of(context)
    model = final.build()
    to_device(model, device)
    with numerics(TrainingSpec(), device), memory_errors(f"probing with images of {job.image_size} pixels"):
        trained = evaluate(model, data, task=dataset.annotations.task, split="test", device=device)
        scores = list(_scores(context, job, model, start, data, dataset, device))
    told = ProbeResult(auroc=trained.auroc, reason=trained.reason, images=len(data.train), scores=scores)
    return told.model_dump(mode="json")


def probe_data(dataset: LoadedDataset, about: About, *, images: int, seed: int) -> TrainingData:
    """The test split, and at most so many train images: the same for every run on the dataset.

    They are normalised as the network's own training did.
    """
    annotations = dataset.annotations
    train, test = annotations.indices("train"), annotations.indices("test")
    if len(test) == 0:
        raise DataError("expected at least one image in the test split, got none")
    return TrainingData(
        images=dataset.images,
        labels=annotations.labels,
        train=sampling.probe_indices(train, min(images, len(train)), seed=seed),
        val=test[:0],
        test=test,
        mean=torch.tensor(about.mean),
        std=torch.tensor(about.std),
        classes=tuple(annotations.classes),
        sampling=Sampling(
            batch_indices=sampling.batch_indices, epoch_of=sampling.epoch_of, flip_mask=sampling.flip_mask
        ),
    )


def _scores(
    context: JobContext,
    job: ProbeJob,
    model: nn.Module,
    start: LoadedCheckpoint,
    data: TrainingData,
    dataset: LoadedDataset,
    device: torch.device,
) -> Iterator[Score]:
    task, layers = dataset.annotations.task, probed_layers(model, image_size=job.image_size)
    fresh: dict[str, Tensor] = start.build_untrained(seed=derive(job.seed, "rerand", job.run)).state_dict()
    by_stage: Iterator[Score] = chain(
        reset_stages(model, start.weights, data, trial="reinit", task=task, device=device),
        reset_stages(model, fresh, data, trial="rerand", task=task, device=device),
        probe_layers(model, data, layers=layers, task=task, neighbours=job.neighbours, c=job.c, device=device),
    )
    blocks = block_shuffled(model, data, blocks=job.blocks, task=task, seed=job.seed, device=device)
    steps = len(job.blocks) + (2 * len(stages(model)) + 2 * len(layers) if job.stages else 0)
    trials = chain(by_stage if job.stages else (), blocks)
    for step, score in enumerate(trials, start=1):
        tell(context, "probe", step, steps)
        yield score


def tell(context: JobContext, phase: str, step: int, steps: int) -> None:
    """Say how far the job is, and end it where it was asked to stop."""
    context.progress(phase, step=step, steps=steps)
    if context.should_stop():
        raise JobCancelled
