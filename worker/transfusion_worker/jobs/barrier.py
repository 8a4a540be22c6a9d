"""Kind `barrier`: what lies between the final weights of two runs."""

from typing import Any

import torch

from transfusion_core.science.robustness import End, crossed, walk
from transfusion_core.science.training.batches import to_device
from transfusion_core.science.training.execution import numerics
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.job import CheckpointRef
from transfusion_core.specs.robustness import BarrierJob
from transfusion_core.specs.training import TrainingSpec
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import LoadedCheckpoint, load
from transfusion_worker.jobs.dataset import load_dataset
from transfusion_worker.jobs.environment import device_of
from transfusion_worker.jobs.probe import probe_data, tell


def run(context: JobContext) -> dict[str, Any]:
    """A BarrierResult."""
    job = BarrierJob.read(context.spec)
    dataset = load_dataset(context, job.dataset, image_size=job.image_size)
    a, b = (load(context, CheckpointRef(run=run, checkpoint="final")) for run in (job.a, job.b))
    ends = _end(a), _end(b)
    data = probe_data(dataset, a.about, images=job.images, seed=job.seed)
    device, task = device_of(context), dataset.annotations.task
    model = a.build()
    to_device(model, device)
    points = []
    with numerics(TrainingSpec(), device), memory_errors(f"crossing with images of {job.image_size} pixels"):
        for point in walk(model, ends, data, points=job.points, task=task, device=device):
            points.append(point)
            tell(context, "barrier", len(points), job.points)
    return crossed(points).model_dump(mode="json")


def _end(loaded: LoadedCheckpoint) -> End:
    return End(loaded.weights, torch.tensor(loaded.about.mean), torch.tensor(loaded.about.std))
