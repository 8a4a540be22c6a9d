"""kill -9 in the middle of a training: the experiment still ends, and every run is done once."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import invariants
from platforms import TINY, embedded, job_children, training_child, until
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = pytest.mark.faults

SLOW: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance", "reuse"],
    "training": {"steps": 60, "eval_every": 30, "batch_size": 16, "checkpoints": 1},
}
"""Long enough to be caught in the middle."""
WRITTEN_BYTES = 100_000
"""Of the log: some dozens of transactions."""


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


def test_power_that_is_lost_with_the_tail_of_the_log_costs_work_and_no_result(tmp_path: Path) -> None:
    """Everything dies, and of the database's write-ahead log the last tenth never reached the disk."""
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        _checkpoint(tmp_path)  # the experiment is in the file itself: what is lost is what came after
        log = tmp_path / "transfusion.db-wal"
        until(lambda: log.stat().st_size > WRITTEN_BYTES, "something to lose")
        children = job_children(platform.process.pid)
        platform.kill()
        until(lambda: not any(_alive(pid) for pid in children), "the children to die with their supervisor")
    os.truncate(log, log.stat().st_size * 9 // 10)
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        _ended_once(client, made.id)
        engine = connect(f"sqlite:///{tmp_path}/transfusion.db")
        store = open_store(Settings(store_url=f"file://{tmp_path}/store"))
        invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid])
        engine.dispose()


def _checkpoint(data: Path) -> None:
    with closing(sqlite3.connect(data / "transfusion.db", timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
