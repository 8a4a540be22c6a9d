"""How long jobs will take, before any has begun: images through networks at an assumed speed, and a start each."""

from collections.abc import Mapping

from transfusion_core.specs.job import CompareJob, JobDraft, MomentsJob, TrainJob
from transfusion_core.specs.model import ModelEntry, catalogue
from transfusion_core.specs.robustness import BarrierJob, ProbeJob

MACS_PER_SECOND = 30e9
"""Assumed speed of training and inference on a small CPU."""
TRAIN_COST = 3
"""A training step costs about three forward passes."""
START_SECONDS = 1.0
"""What any job takes to start, load and write."""
ASSUMED = {"train": 2000, "val": 300, "test": 1000}
"""Images per split of a dataset that nobody has read yet."""
PACKED_PER_SECOND = 500
"""Images that are decoded and resized, on a small CPU."""
COMPARED = 1000
"""Images of a comparison that takes as many as there are."""


def job_seconds(draft: JobDraft, splits: Mapping[str, int] | None) -> float:
    """How long a job will take on a small CPU, within a factor of a few; `splits` are those of its dataset."""
    if draft.kind == "pixels":
        return START_SECONDS + images_of(splits) / PACKED_PER_SECOND
    images = {**ASSUMED, **(splits or {})}
    passes = _PASSES.get(draft.kind)
    if passes is None:
        return START_SECONDS
    model = catalogue()[draft.labels["model"]]
    size: int = draft.spec["image_size"]
    macs = model.macs * (size / model.default_image_size) ** 2
    return START_SECONDS + passes(draft, model, images) * macs / MACS_PER_SECOND


def images_of(splits: Mapping[str, int] | None) -> int:
    """Images of a dataset with these splits, None for one that nobody has read yet."""
    return sum({**ASSUMED, **(splits or {})}.values())


def _train(draft: JobDraft, _: ModelEntry, images: Mapping[str, int]) -> float:
    training = TrainJob.read(draft.spec).training
    evaluations = 1 + training.steps // training.eval_every
    return TRAIN_COST * training.steps * training.batch_size + evaluations * (images["val"] + images["test"])


def _compare(draft: JobDraft, _: ModelEntry, images: Mapping[str, int]) -> float:
    """Of both networks; the parts of a comparison take all of its images, each its own."""
    job = CompareJob.read(draft.spec)
    return 0 if draft.parts else 2 * min(job.images or COMPARED, images["test"])


def _moments(draft: JobDraft, model: ModelEntry, images: Mapping[str, int]) -> float:
    return _compare(draft, model, images) / MomentsJob.read(draft.spec).of


def _probe(draft: JobDraft, model: ModelEntry, images: Mapping[str, int]) -> float:
    """Once for the features; then the test split for each stage put back in either way, and for each cut."""
    job = ProbeJob.read(draft.spec)
    tries = len(job.blocks) + (2 * len(model.stages) if job.stages else 0)
    return min(job.images, images["train"]) + images["test"] * (1 + tries)


def _barrier(draft: JobDraft, _: ModelEntry, images: Mapping[str, int]) -> float:
    job = BarrierJob.read(draft.spec)
    return job.points * (min(job.images, images["train"]) + images["test"])


_PASSES = {"train": _train, "moments": _moments, "compare": _compare, "probe": _probe, "barrier": _barrier}
"""Images that each kind takes through its networks."""
