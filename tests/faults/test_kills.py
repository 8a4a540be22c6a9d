"""kill -9 in the middle of a training: the experiment still ends, and every run is done once."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from platforms import TINY, embedded, job_children, training_child, until
from transfusion_client import Client

pytestmark = pytest.mark.faults

SLOW: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance", "reuse"],
    "training": {"steps": 60, "eval_every": 30, "batch_size": 16, "checkpoints": 1},
}
"""Long enough to be caught in the middle."""


def _ended_once(client: Client, experiment_id: str) -> None:
    """Every run succeeded, and its curve has each step once."""
    experiment = client.experiments.get(experiment_id).wait(progress=False, timeout_seconds=240)
    assert experiment.state == "succeeded", experiment.counts
    assert experiment.report().sections["performance"].complete
    for run in experiment.runs():
        assert run.state == "succeeded"
        for series in client.runs.metrics(run.id):
            assert series.steps == sorted(set(series.steps))


def test_a_killed_child_is_tried_again(tmp_path: Path) -> None:
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        child = until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        os.kill(child, signal.SIGKILL)
        _ended_once(client, made.id)
        assert max(run.attempt for run in client.experiments.runs(made.id)) == 2


def test_a_killed_platform_goes_on_where_it_is_started_again(tmp_path: Path) -> None:
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        children = job_children(platform.process.pid)
        platform.kill()
        until(lambda: not any(_alive(pid) for pid in children), "the children to die with their supervisor")
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        _ended_once(client, made.id)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
