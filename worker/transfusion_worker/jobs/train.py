"""Kind `train`: one run, from its data and its initialisation to its weights and curves in the store."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError, Diverged
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.data import sampling
from transfusion_core.science.data.pixels import mean_std
from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.models.build import build_random, head_names
from transfusion_core.science.training.batches import Sampling, TrainingData
from transfusion_core.science.training.hooks import Hooks, Point
from transfusion_core.science.training.loop import Trained, train
from transfusion_core.science.training.ranks import Ranks
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.base import Record
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.init import Init, InitSpec, WeightReport
from transfusion_core.specs.job import TrainJob
from transfusion_core.specs.keys import digest
from transfusion_core.specs.training import TrainResult
from transfusion_worker.context import CurvePoint, JobContext
from transfusion_worker.jobs.checkpoints import About, keep
from transfusion_worker.jobs.dataset import LoadedDataset, load_dataset
from transfusion_worker.jobs.environment import device_of, environment
from transfusion_worker.jobs.filters import before_and_after, filters_of
from transfusion_worker.jobs.predictions import put_predictions
from transfusion_worker.jobs.ranks import backend_of, together
from transfusion_worker.jobs.resume import Standing, Uploader, newest
from transfusion_worker.jobs.source import Source, read_source
from transfusion_worker.jobs.tuning import choose, curve_points, done_before


def run(context: JobContext) -> dict[str, Any]:
    """A TrainResult; of a tuning run that diverged, `diverged` alone: why."""
    job = TrainJob.read(context.spec)
    if job.tuned_by:
        return _tuned(context, job).model_dump(mode="json")
    try:
        return _trained(context, job).model_dump(mode="json")
    except Diverged as error:
        if not job.tuning:
            raise
        return {"diverged": str(error)}


def _tuned(context: JobContext, job: TrainJob) -> TrainResult:
    """The result at the rate that did best. Where a tuning run was this very training, it is that one's."""
    choice = choose(context, job)
    result = done_before(context, job, lr=choice.lr) or _trained(context, job.at(choice.lr))
    told = {"spec": job.at(choice.lr).model_dump(mode="json"), "tuning": choice.model_dump(mode="json")}
    return result.model_copy(update={"manifest": result.manifest | told})


def follow(context: JobContext, ranks: Ranks) -> None:
    """What ranks other than 0 do of a job: its training, and nothing else."""
    job = TrainJob.read(context.spec)
    _Prepared(context, job.at(choose(context, job).lr) if job.tuned_by else job).train(ranks)


class _Prepared:
    """All that a training at one learning rate takes."""

    def __init__(self, context: JobContext, job: TrainJob) -> None:
        self.context, self.job = context, job
        self.dataset = load_dataset(context, job.dataset, image_size=job.image_size)
        self.model = build_random(
            job.model, classes=self.dataset.classes, image_size=job.image_size, seed=job.seed, slim=job.init.slim
        )
        source = read_source(context, job.source, model=self.model, image_size=job.image_size) if job.source else None
        self.source_input = source.input if source else None
        self.data = training_data(self.dataset, job, source=source)
        self.device = device_of(context)
        self.report = _initialise(self.model, job, source)
        first = filters_of(self.model, self.model.state_dict())
        self.filters = None if first is None else first.clone()
        self.standing = newest(context)
        self.micro_batch = context.handover.micro_batch(job.training.batch_size)

    def train(self, ranks: Ranks, hooks: Hooks | None = None) -> Trained:
        assert isinstance(self.job.training.lr, float)
        return train(
            self.model,
            self.data,
            self.job.training.at(self.job.training.lr),
            task=self.dataset.annotations.task,
            seed=self.job.seed,
            device=self.device,
            hooks=hooks,
            resume=self.standing.state if self.standing else None,
            micro_batch=self.micro_batch,
            ranks=ranks,
        )


def _trained(context: JobContext, job: TrainJob) -> TrainResult:
    """The result of a training at one learning rate."""
    prepared = _Prepared(context, job)
    dataset, model, device, report = prepared.dataset, prepared.model, prepared.device, prepared.report
    with together(context, job.training.gpus) as ranks, Uploader(context) as uploader:
        keeper = _Keeper(context, _about(job, dataset, prepared.data), uploader, prepared.standing)
        trained = prepared.train(ranks, keeper)
    _log_end(context, trained, job.training.steps)
    filters = before_and_after(model, prepared.filters)
    outcome = {
        "micro_batch": prepared.micro_batch,
        "ranks": {"count": ranks.count, "backend": backend_of(device) if ranks.count > 1 else None},
        "execution": trained.execution,
        "best_step": trained.best_step,
        "retried_at_lr": trained.retried_at_lr,
    }
    return TrainResult(
        metrics=trained.metrics,
        checkpoints=keeper.checkpoints,
        series=trained.series,
        weight_report=_put_json(context, report, "weight-report.json"),
        manifest=_manifest(context, job, prepared) | outcome,
        steps=trained.steps,
        images_per_second=trained.images_per_second,
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        predictions=put_predictions(context, dataset.annotations, trained.test_logits),
        filters=_put_json(context, filters, "filters.json") if filters else None,
    )


def _log_end(context: JobContext, trained: Trained, steps: int) -> None:
    if trained.steps < steps:
        context.log(f"stops after step {trained.steps} of {steps}: validation got no better")
    if trained.best_step is not None:
        context.log(f"the final weights are those after step {trained.best_step}, the best on validation")


def training_data(dataset: LoadedDataset, job: TrainJob, *, source: Source | None = None) -> TrainingData:
    """The run's data, normalised by the moments of the images that it trains on, or as its source's were.

    Raises DataError where that is asked for and nobody knows how they were.
    """
    annotations = dataset.annotations
    size = "all" if job.train_size == "all" else int(job.train_size)
    rows = sampling.train_subset(annotations.indices("train"), cast(Any, size), seed=job.seed)
    mean, std = _moments(dataset, job, rows, source)
    return TrainingData(
        images=dataset.images,
        labels=annotations.labels,
        train=rows,
        val=annotations.indices("val"),
        test=annotations.indices("test"),
        mean=torch.tensor(mean).expand(3),
        std=torch.tensor(std).expand(3),
        classes=tuple(annotations.classes),
        sampling=Sampling(batch_indices=sampling.batch_indices, epoch_of=sampling.epoch_of, uniform=sampling.uniform),
    )


def _moments(
    dataset: LoadedDataset, job: TrainJob, rows: Tensor, source: Source | None
) -> tuple[list[float], list[float]]:
    if job.training.normalisation == "dataset" or source is None:
        own = mean_std(dataset.images, rows)
        return own.mean, own.std
    if source.input is None:
        raise DataError("expected weights of which it is known how images are normalised for them, got others")
    return source.input.moments


class _Keeper(Hooks):
    """Takes what a training says to the supervisor and to the store."""

    def __init__(
        self, context: JobContext, about: dict[str, Any], uploader: Uploader, standing: Standing | None
    ) -> None:
        self._context, self._about, self._uploader = context, about, uploader
        self.checkpoints = list(standing.checkpoints) if standing else []
        self._points: list[CurvePoint] = []
        self._tell(curve_points(standing.state.series if standing else []))

    def on_points(self, step: int, points: Sequence[Point]) -> None:
        self._tell([CurvePoint(step, point.name, point.split, point.value) for point in points])

    def _tell(self, points: list[CurvePoint]) -> None:
        self._points += points
        self._context.points(points)

    def on_checkpoint(self, step: int, name: str, state_dict: Mapping[str, Tensor]) -> None:
        self.checkpoints.append(keep(self._context, state_dict, About(step=step, **self._about), name))
        self._context.log(f"checkpoint {name} after step {step}")

    def on_progress(self, step: int, steps: int, images_per_second: float) -> None:
        faultpoint("step")
        self._context.progress("train", step=step, steps=steps, images_per_second=round(images_per_second, 1))

    def on_retry(self, lr: float, error: str) -> None:
        self._context.log(f"{error}; starts again at a learning rate of {lr:g}")
        self._context.points(point._replace(value=None) for point in self._points)
        self._points, self.checkpoints = [], []

    def should_stop(self) -> bool:
        return self._context.should_stop()

    def wants_state(self, step: int) -> bool:
        return self._uploader.is_due(step)

    def on_state(self, state: TrainingState) -> None:
        self._uploader.take(state, checkpoints=[checkpoint.model_dump() for checkpoint in self.checkpoints])


def _initialise(model: nn.Module, job: TrainJob, source: Source | None) -> WeightReport:
    return initialise(
        model,
        _init_spec(job.init, has_source=source is not None),
        source=source.tensors if source else None,
        source_digest=source.digest if source else None,
        head=head_names(model),
        seed=job.seed,
    )


def _init_spec(init: Init, *, has_source: bool) -> InitSpec:
    """The init as the science takes it; the source's name in the experiment is not the job's business."""
    return InitSpec(**init.model_dump(), source="source" if has_source else None)


def _about(job: TrainJob, dataset: LoadedDataset, data: TrainingData) -> dict[str, Any]:
    return {
        "model": job.model,
        "classes": dataset.classes,
        "image_size": job.image_size,
        "dataset": dataset.found.digest,
        "mean": data.mean.tolist(),
        "std": data.std.tolist(),
        "slim": job.init.slim,
    }


def _put_json(context: JobContext, said: Record, name: str) -> StoredObject:
    path = context.scratch / name
    path.write_text(said.model_dump_json())
    return context.put(path, name)


def _manifest(context: JobContext, job: TrainJob, prepared: "_Prepared") -> dict[str, Any]:
    data, report = prepared.data, prepared.report
    return {
        "spec": json.loads(job.model_dump_json()),
        "environment": environment(prepared.device),
        "seeds": {"seed": job.seed},
        "deterministic": job.training.deterministic,
        "dataset_digest": prepared.dataset.found.digest,
        "split_digest": digest([getattr(data, split).tolist() for split in ("train", "val", "test")]),
        "source_digest": report.source_digest,
        "source_input": told.model_dump(mode="json") if (told := prepared.source_input) else None,
        "input": {
            "normalised_by": "source" if told and job.training.normalisation == "source" else "dataset",
            "mean": data.mean.tolist(),
            "std": data.std.tolist(),
            "grey": "repeated in three channels" if prepared.dataset.images.shape[1] == 1 else None,
        },
        "weights": dict(Counter(tensor.action for tensor in report.tensors)),
        "attempt": context.attempt,
    }
