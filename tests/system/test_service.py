"""The service way: a spec becomes a report, nobody gets in without a key, a killed worker is replaced."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms import TINY, job_children, stop, training_child, until
from service_way import Service, running_service
from transfusion_client import Client
from transfusion_core.errors import NotAuthenticated

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running API; each test starts its worker."""
    with running_service() as running:
        yield running


def test_a_spec_becomes_a_report(service: Service) -> None:
    worker = service.start_worker()
    try:
        with service.client() as client:
            experiment = client.experiments.create(TINY).wait(timeout_seconds=240)
            assert experiment.state == "succeeded", experiment.counts
            assert all(section.complete for section in experiment.report().sections.values())
    finally:
        assert stop(worker) == 0


def test_nobody_gets_in_without_a_key(service: Service) -> None:
    with Client(service.url) as client, pytest.raises(NotAuthenticated):
        client.experiments.plan(TINY)


@pytest.mark.faults
def test_a_killed_worker_is_replaced_and_every_run_is_done_once(service: Service) -> None:
    slow: dict[str, Any] = {
        **TINY,
        "name": "slow",
        "inits": ["random"],
        "sources": {},
        "sections": ["performance"],
        "training": {"steps": 60, "eval_every": 30, "batch_size": 16, "checkpoints": 0},
    }
    first = service.start_worker()
    with service.client() as client:
        made = client.experiments.create(slow)
        until(lambda: training_child(client, made.id, first.pid), "a training", 120)
        children = job_children(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        stop(first)
        second = service.start_worker()
        try:
            ended = made.wait(timeout_seconds=240)
            assert ended.state == "succeeded", ended.counts
            assert not any(Path(f"/proc/{pid}").exists() for pid in children), "orphans"
            for run in ended.runs():
                for series in client.runs.metrics(run.id):
                    assert series.steps == sorted(set(series.steps))
        finally:
            stop(second)
