"""The service way: a spec becomes a report, nobody gets in without a key, a killed worker is replaced."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from platforms import LONG_FORM, TINY, job_children, stop, training_child, until
from service_way import Service, running_service
from transfusion_client import Client
from transfusion_core.errors import NotAuthenticated

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A running API; each test starts its worker."""
    with running_service() as running:
        yield running


def images(folder: Path) -> Path:
    """Two classes of noise, more than goes in one part."""
    draw = np.random.default_rng(0)
    for number in range(60):
        path = folder / str(number % 2) / f"Jane Doe {number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(path)
    return folder


def test_a_spec_becomes_a_report(service: Service, tmp_path: Path) -> None:
    """And a folder of one's own, sent in parts to the S3 server, a dataset that is one however often it is sent."""
    worker = service.start_worker()
    try:
        with service.client() as client:
            told: list[tuple[int, int]] = []
            names = [
                client.datasets.add("own", images(tmp_path / "own"), sent=lambda *each: told.append(each)).name
                for _ in range(2)
            ]
            own = client.datasets.wait("own", timeout_seconds=120)
            assert (names, own.state, own.images, own.classes) == (["own@1"] * 2, "succeeded", 60, ["0", "1"])
            assert told[-1][0] == told[-1][1] > 8 << 20
            experiment = client.experiments.create({**TINY, "seeds": 1}).wait(timeout_seconds=240)
            assert experiment.state == "succeeded", experiment.counts
            assert all(section.complete for section in experiment.report().sections.values())
    finally:
        assert stop(worker) == 0


def test_nobody_gets_in_without_a_key(service: Service) -> None:
    with Client(service.url) as client, pytest.raises(NotAuthenticated):
        client.experiments.plan(TINY)


@LONG_FORM
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
