"""What jobs need, and what the plan says where no worker has it."""

from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.expand import expand, plan
from transfusion_core.specs.experiment import ExperimentSpec, Plan
from transfusion_core.specs.fitting import PROCESS_BYTES, demands_of, memory_of, unmet
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.worker import Equipment, Gpu

GB = 1_000_000_000


def planned(**changes: Any) -> Plan:
    return plan(expand(ExperimentSpec.model_validate(experiment(**changes)), facts()), frozenset())


def worker(**more: Any) -> Equipment:
    words = {"version": "1", "slots": 1, "running": 0, "cores": 8, "free_bytes": GB, "memory_bytes": 64 * GB}
    return Equipment.model_validate({**words, "queues": ["gpu", "cpu"], **more})


def gpu(gigabytes: int) -> Gpu:
    return Gpu(name="card", memory_bytes=gigabytes * GB, used_bytes=0, busy=0.0)


def test_demands_are_told_by_queue_and_add_up() -> None:
    found = planned()
    by_queue = {demand.queue: demand for demand in found.demands}
    assert sum(demand.jobs for demand in found.demands) == found.new_jobs
    assert sum(demand.minutes for demand in found.demands) * 60 == pytest.approx(found.estimated_seconds, abs=6)
    assert (by_queue["gpu"].gpus, by_queue["cpu"].gpus) == (1, 0)
    assert by_queue["gpu"].label == "train resnet18"
    assert by_queue["cpu"].memory_bytes == PROCESS_BYTES


def test_a_larger_network_batch_or_image_needs_more_memory() -> None:
    def largest(**changes: Any) -> int:
        return next(demand.memory_bytes for demand in planned(**changes).demands if demand.queue == "gpu")

    small = largest()
    assert largest(image_size=128) > small
    assert largest(models=["resnet18", "resnet50"]) > small
    assert largest(training={**experiment()["training"], "batch_size": 128}) > small


def test_what_has_no_model_is_a_process_and_no_more() -> None:
    assert memory_of(JobDraft.make("report", {})) == PROCESS_BYTES
    assert demands_of([]) == []


@pytest.mark.parametrize(
    ("fleet", "told"),
    [
        ({}, ["jobs need a worker of queue 'cpu', and no worker is there", "of queue 'gpu', and no worker is there"]),
        ({"a": worker(queues=["cpu"])}, ["jobs need a worker of queue 'gpu', and 1 workers serve others"]),
        ({"a": worker(gpus=[gpu(1)])}, ["train resnet18 needs about 1.2 GB at its whole batch, and no worker"]),
        ({"a": worker(gpus=[gpu(1)]), "b": worker(gpus=[gpu(24)])}, []),
        ({"a": worker(gpus=[gpu(24), gpu(24)], gpus_per_job=2)}, []),
    ],
)
def test_the_plan_says_what_no_worker_can_do(fleet: dict[str, Equipment], told: list[str]) -> None:
    found = unmet(planned().demands, fleet)
    assert len(found) == len(told)
    for words, expected in zip(found, told, strict=True):
        assert expected in words


def test_more_gpus_than_any_worker_gives_a_job_is_said() -> None:
    demands = planned(training={**experiment()["training"], "gpus": 4}).demands
    assert "needs 4 GPUs, and no worker gives a job more than 1" in unmet(demands, {"a": worker(gpus=[gpu(80)])})[0]
    assert unmet(demands, {"a": worker()}) == [], "on processors the parts are processes"
    assert unmet(demands, {"a": worker(gpus=[gpu(80)]), "b": worker(gpus=[gpu(80)] * 4, gpus_per_job=4)}) == []


def test_gpus_that_are_enough_only_together_are_said_to_be_no_help() -> None:
    demands = planned(training={**experiment()["training"], "gpus": 4}).demands
    fleet = {"a": worker(gpus=[gpu(80)] * 2, gpus_per_job=2), "b": worker(gpus=[gpu(80)] * 2)}
    (words,) = unmet(demands, fleet)
    assert "no worker gives a job more than 2: it waits until one does" in words
    assert "they have 4 together, but a training runs on those that one worker gives it" in words
    (alone,) = unmet(demands, {"a": worker(gpus=[gpu(80)])})
    assert "together" not in alone


@pytest.mark.parametrize(
    ("kind", "spec", "gpus"),
    [
        ("train", {"training": {"gpus": 4}}, 4),
        ("train", {}, 1),
        ("probe", {}, 1),
        ("moments", {}, 1),
        ("ingest", {}, 0),
    ],
)
def test_a_draft_tells_the_gpus_that_it_needs(kind: Any, spec: dict[str, Any], gpus: int) -> None:
    assert JobDraft.make(kind, spec).gpus == gpus


def test_jobs_that_share_a_gpu_share_its_memory() -> None:
    assert worker(gpus=[gpu(24)], packing=3).job_memory_bytes == 8 * GB
    assert worker(slots=4).job_memory_bytes == 16 * GB
