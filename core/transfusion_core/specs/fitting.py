"""What jobs need of a worker, reckoned from their specs, and whether some worker has it."""

from collections.abc import Iterable, Mapping, Sequence

from transfusion_core.specs.demand import Demand
from transfusion_core.specs.job import QUEUES, JobDraft, Queue, TrainJob
from transfusion_core.specs.model import catalogue
from transfusion_core.specs.worker import Equipment

PROCESS_BYTES = 800_000_000
"""A process with torch in it, before there is any model."""
ACTIVATIONS_PER_OUTPUT = 20
"""Numbers that a training step holds for each that a stage puts out: measured 10 to 22 for ResNets, a DenseNet, a ViT
and the large CBR on CPU; 38 for the smallest, where that is a few megabytes."""
TRAINED_COPIES, COMPARED_COPIES = 4, 2
"""Of the parameters: themselves, gradients and Adam's two moments; those of two networks."""


def demands_of(drafts: Iterable[JobDraft]) -> list[Demand]:
    """What these jobs need, by queue."""
    by_queue: dict[Queue, list[JobDraft]] = {}
    for draft in drafts:
        by_queue.setdefault(QUEUES[draft.kind], []).append(draft)
    return [_demand(queue, of_queue) for queue, of_queue in sorted(by_queue.items())]


def _demand(queue: Queue, drafts: Sequence[JobDraft]) -> Demand:
    largest = max(drafts, key=memory_of)
    return Demand(
        queue=queue,
        jobs=len(drafts),
        minutes=round(sum(draft.seconds for draft in drafts) / 60, 1),
        gpus=max(draft.gpus for draft in drafts),
        memory_bytes=memory_of(largest),
        label=" ".join(str(word) for word in (largest.kind, largest.labels.get("model")) if word),
    )


def memory_of(draft: JobDraft) -> int:
    """Bytes that a job needs at once, on the device that it runs on."""
    model = catalogue().get(draft.labels.get("model", ""))
    if model is None or draft.kind not in ("train", "moments", "compare", "probe", "barrier"):
        return PROCESS_BYTES
    if draft.kind != "train":
        return PROCESS_BYTES + 4 * COMPARED_COPIES * model.parameters
    job = TrainJob.read(draft.spec)
    outputs = sum(stage.channels * model.positions(stage, job.image_size) for stage in model.stages)
    batch = job.training.batch_size // job.training.gpus
    return PROCESS_BYTES + 4 * TRAINED_COPIES * model.parameters + 4 * ACTIVATIONS_PER_OUTPUT * batch * outputs


def unmet(demands: Iterable[Demand], fleet: Mapping[str, Equipment]) -> list[str]:
    """What no worker that is there now can do, in words; `fleet` is by the workers' names."""
    return [words for demand in demands for words in _unmet(demand, list(fleet.values()))]


def _unmet(demand: Demand, fleet: Sequence[Equipment]) -> list[str]:
    serving = [worker for worker in fleet if demand.queue in worker.queues]
    if not serving:
        there = f"{len(fleet)} workers serve others" if fleet else "no worker is there"
        return [f"{demand.jobs} jobs need a worker of queue {demand.queue!r}, and {there}: they wait until one comes"]
    found = _unmet_gpus(demand, serving)
    most = max(worker.job_memory_bytes for worker in serving)
    if demand.memory_bytes > most:
        needs = f"{demand.label} needs about {demand.memory_bytes / 1e9:.1f} GB at its whole batch"
        found.append(f"{needs}, and no worker gives a job more than {most / 1e9:.1f} GB: batches are taken in parts")
    return found


def _unmet_gpus(demand: Demand, serving: Sequence[Equipment]) -> list[str]:
    most = max(demand.gpus if worker.most_gpus is None else worker.most_gpus for worker in serving)
    if demand.gpus <= most:
        return []
    words = f"a training needs {demand.gpus} GPUs, and no worker gives a job more than {most}: it waits until one does"
    together = sum(len(worker.gpus) for worker in serving)
    if demand.gpus <= together:
        words += f"; they have {together} together, but a training runs on those that one worker gives it"
    return [words]
