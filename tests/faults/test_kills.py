"""kill -9 in the middle of a training: the experiment still ends, and every run is done once."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import invariants
from platforms import TINY, Lasting, job_children, lasting, training_child, until
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
    "cache": "off",
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


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lasting]:
    with lasting(tmp_path_factory.mktemp("platform")) as made:
        yield made


def test_a_killed_child_is_tried_again(shared: Lasting) -> None:
    platform = shared.running()
    with Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        child = until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        os.kill(child, signal.SIGKILL)
        _ended_once(client, made.id)
        assert max(run.attempt for run in client.experiments.runs(made.id)) == 2


def test_a_killed_platform_goes_on_where_it_is_started_again(shared: Lasting) -> None:
    platform = shared.running()
    with Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
    _killed(shared)
    with Client(shared.again().url) as client:
        _ended_once(client, made.id)


def test_power_that_is_lost_with_the_tail_of_the_log_costs_work_and_no_result(shared: Lasting) -> None:
    """Everything dies, and of the database's write-ahead log the last tenth never reached the disk."""
    platform, log = shared.running(), shared.data / "transfusion.db-wal"
    with Client(platform.url) as client:
        made = client.experiments.create(SLOW)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        _checkpoint(shared.data)  # the experiment is in the file itself: what is lost is what came after
        until(lambda: log.stat().st_size > WRITTEN_BYTES, "something to lose")
    _killed(shared)
    os.truncate(log, log.stat().st_size * 9 // 10)
    platform = shared.again()
    with Client(platform.url) as client:
        _ended_once(client, made.id)
    engine = connect(f"sqlite:///{shared.data}/transfusion.db")
    store = open_store(Settings(store_url=f"file://{shared.data}/store"))
    invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid])
    engine.dispose()


def _killed(shared: Lasting) -> None:
    """kill -9 of the whole platform, whose children die with it."""
    children = job_children(shared.platform.process.pid)
    shared.platform.kill()
    until(lambda: not any(_alive(pid) for pid in children), "the children to die with their supervisor")


def _checkpoint(data: Path) -> None:
    with closing(sqlite3.connect(data / "transfusion.db", timeout=30)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
