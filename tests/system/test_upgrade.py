"""An upgrade with work under way, from an earlier state of this repository: nothing is lost, nothing is done twice."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from platforms import REPOSITORY, SOAK, TINY, stop, training_child, until
from service_way import running_service

pytestmark = [pytest.mark.system, pytest.mark.skipif(not SOAK, reason="the long form, for `make soak`")]

EARLIER = "71670b50e9ab"
"""Of 2026-12-01, before jobs had GPUs and audits were kept from truncation: two migrations ago."""
SLOW: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance"],
    "training": {"steps": 400, "eval_every": 100, "batch_size": 16, "checkpoints": 0},
}


def earlier(folder: Path) -> str:
    """The earlier state's packages, as a path for Python."""
    known = subprocess.run(["git", "cat-file", "-e", EARLIER], cwd=REPOSITORY, capture_output=True, check=False)
    if known.returncode:
        pytest.skip(f"the history of this checkout does not reach back to {EARLIER}: fetch all of it")
    folder.mkdir()
    archive = subprocess.run(["git", "archive", EARLIER], cwd=REPOSITORY, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return os.pathsep.join(str(folder / package) for package in ("core", "api", "worker", "clients"))


def test_work_goes_on_through_an_upgrade(tmp_path: Path) -> None:
    """Migrate first, then replace the API, then the worker in the middle of a training, as docs/operating.md says."""
    with running_service(PYTHONPATH=earlier(tmp_path / "earlier")) as service, service.client() as client:
        old = service.start_worker()
        try:
            first = client.experiments.create({**SLOW, "name": "first"})
            until(lambda: training_child(client, first.id, old.pid), "a training", 120)
            del service.environment["PYTHONPATH"]
            service.migrate()
            second = client.experiments.create({**SLOW, "name": "second", "seeds": 1, "train_sizes": [32]})
            service.stop_api()
            service.start_api()
            until(lambda: training_child(client, first.id, old.pid), "a training of the old worker still", 120)
        finally:
            stop(old)  # softly: it hands its job over
        new = service.start_worker()
        try:
            third = client.experiments.create({**TINY, "name": "third"})
            for experiment in (first, second, third):
                ended = experiment.wait(progress=False, timeout_seconds=400)
                assert ended.state == "succeeded", (ended.name, ended.counts)
                assert ended.report().sections["performance"].complete
                for run in ended.runs():
                    assert run.attempt <= 2
                    for series in client.runs.metrics(run.id):
                        assert series.steps == sorted(set(series.steps))
        finally:
            stop(new)
