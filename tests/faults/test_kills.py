"""kill -9 in the middle of a training or a comparison: the experiment still ends, and every job is done once."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

import invariants
from platforms import LONG_FORM, TINY, Lasting, job_children, lasting, training_child, until
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.db.tables import Job
from transfusion_core.settings import Settings
from transfusion_core.store import Store, open_store

pytestmark = pytest.mark.faults

SLOW: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance"],
    "training": {"steps": 60, "eval_every": 30, "batch_size": 16, "checkpoints": 1},
    "cache": "off",
}
"""Long enough to be caught in the middle."""
SPLIT: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance", "similarity", "movement"],
    "similarity": {**TINY["similarity"], "parts": 4},
}
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


@LONG_FORM
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


def test_a_platform_that_is_killed_between_the_parts_of_a_comparison_goes_on(shared: Lasting) -> None:
    """What was summed stays, and each comparison ends once."""
    platform, engine = shared.running(), connect(f"sqlite:///{shared.data}/transfusion.db")
    with Client(platform.url) as client:
        made = client.experiments.create(SPLIT)

        def some_done() -> bool:
            states = {part.state for part in _parts(engine)}
            return "succeeded" in states and "running" in states

        until(some_done, "a part that is done and one that is under way", 240)
        _killed(shared)
    done = {part.id for part in _parts(engine) if part.state == "succeeded"}
    lost = {part.id for part in _parts(engine) if part.state == "running"}
    platform = shared.again()
    with Client(platform.url) as client:
        experiment = client.experiments.get(made.id).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        assert experiment.report().sections["similarity"].complete
    parts = {part.id: part for part in _parts(engine)}
    assert {parts[part].attempt for part in done} == {1}
    assert all(parts[part].attempt >= 2 for part in lost)
    store = open_store(Settings(store_url=f"file://{shared.data}/store"))
    invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid])
    assert _sums(store)
    invariants.janitor_without_grace(engine, store)()
    assert not _sums(store), "comparisons that have succeeded need no sums"
    engine.dispose()


def _parts(engine: Engine) -> list[Job]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Job).where(Job.kind == "moments").order_by(Job.id)))


def _sums(store: Store) -> set[str]:
    return {listed.key for listed in store.list("jobs/") if "trained" in listed.key}


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
