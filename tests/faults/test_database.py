"""The database goes away, loses answers, or is full of work: nothing is done twice, nobody waits for ever."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

import invariants
from fault_proxy import FaultProxy, fault_proxy, through
from platforms import SOAK
from servers import PostgresCluster, postgres_cluster
from transfusion_api.app import create_app
from transfusion_api.streams import Streams, Subject, follow
from transfusion_core.db import engine as databases
from transfusion_core.db import events, experiments, jobs
from transfusion_core.db.engine import connect, migrate, ping, transact, unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Fenced, Unavailable
from transfusion_core.store import open_store
from worker_bench import Bench, Start, bench_settings, train_job, until, worker_processes

pytestmark = pytest.mark.faults
POSTGRES = pytest.mark.parametrize("database", ["postgres"])

SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 1,
    "image_size": 40,
    "training": {"steps": 2},
    "sections": ["performance"],
}


@pytest.fixture
def proxy(bench: Bench) -> Iterator[FaultProxy]:
    with fault_proxy(bench.settings.database_url) as made:
        yield made


@pytest.fixture
def far(bench: Bench, proxy: FaultProxy) -> Iterator[Engine]:
    """The database by way of the proxy."""
    engine = connect(through(proxy, bench.settings.database_url))
    yield engine
    engine.dispose()


def _claim(engine: Engine) -> jobs.ClaimedJob | None:
    return jobs.claim(engine, worker="host:1:1", queues=["cpu"], lease_seconds=0.2)


@POSTGRES
def test_a_result_whose_commit_was_never_answered_is_there_once(
    bench: Bench, proxy: FaultProxy, far: Engine, check: Callable[..., None]
) -> None:
    job = bench.add("quick")
    claimed = _claim(far)
    assert claimed is not None
    proxy.lose_the_answer_to(b"COMMIT")
    with pytest.raises(Unavailable):
        jobs.succeed(far, job, claimed.attempt, {"n": 1})
    assert proxy.has_lost_it
    with pytest.raises(Fenced):  # a supervisor tries again, and learns that there is nothing left to do
        jobs.succeed(far, job, claimed.attempt, {"n": 1})
    assert bench.job(job).result == {"n": 1}
    check()


@POSTGRES
def test_a_claim_whose_commit_was_never_answered_comes_back_with_its_lease(
    bench: Bench, proxy: FaultProxy, far: Engine, check: Callable[..., None]
) -> None:
    job = bench.add("quick")
    proxy.lose_the_answer_to(b"COMMIT")
    with pytest.raises(Unavailable):
        _claim(far)
    assert (bench.job(job).state, _claim(far)) == ("running", None)
    check()
    until(lambda: jobs.sweep(far, max_outages=9))
    again = _claim(far)
    assert again is not None
    assert (again.attempt, again.crashes) == (2, 0)
    check()


@POSTGRES
def test_a_post_whose_commit_was_never_answered_is_repeated_under_its_key(
    bench: Bench, proxy: FaultProxy, check: Callable[..., None]
) -> None:
    far = bench.settings.model_copy(
        update={"database_url": through(proxy, bench.settings.database_url), "mode": "embedded"}
    )
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 1), "raise_server_exceptions": False}
    with TestClient(create_app(far), **local) as client:
        headers = {"Idempotency-Key": "once"}
        assert client.get("/v1/experiments").status_code == 200
        proxy.lose_the_answer_to(b"COMMIT", after=b"INSERT INTO experiments")
        lost = client.post("/v1/experiments", json=SPEC, headers=headers)
        assert (lost.status_code, lost.json()["code"]) == (503, "unavailable")
        assert int(lost.headers["retry-after"]) >= 1
        assert proxy.has_lost_it
        made = client.post("/v1/experiments", json=SPEC, headers=headers)
        assert made.status_code == 201
        assert client.post("/v1/experiments", json=SPEC, headers=headers).json()["id"] == made.json()["id"]
        assert len(client.get("/v1/experiments").json()["items"]) == 1
    check()


@POSTGRES
def test_a_connection_that_is_reset_costs_one_answer_and_a_slow_one_none(far: Engine, proxy: FaultProxy) -> None:
    ping(far)
    assert proxy.reset() >= 1
    ping(far)  # a connection that is dead is found before it is used
    proxy.faults.latency_seconds, proxy.faults.slice_bytes = 0.02, 7
    ping(far)
    proxy.heal()
    proxy.faults.is_refusing = True
    proxy.reset()
    with pytest.raises(Unavailable):
        ping(far)
    proxy.heal()
    ping(far)


@POSTGRES
def test_who_waits_too_long_for_a_lock_or_a_statement_is_told_so(engine: Engine) -> None:
    with unit_of_work(engine, write=False) as session:
        shown = [session.scalar(text(f"SHOW {name}")) for name in ("lock_timeout", "statement_timeout")]
    assert shown == ["20s", "1min"]
    with unit_of_work(engine) as session:
        session.execute(text("LOCK TABLE weights"))
        for setting, statement in (
            ("lock_timeout", "SELECT * FROM weights"),
            ("statement_timeout", "SELECT pg_sleep(10)"),
        ):
            with pytest.raises(Unavailable, match="does not answer"):
                _within(engine, setting, statement)


def _within(engine: Engine, setting: str, statement: str) -> None:
    with unit_of_work(engine) as session:
        session.execute(text(f"SET LOCAL {setting} = '50ms'"))
        session.execute(text(statement))


def test_a_pool_without_a_connection_left_is_a_503_that_says_when_to_come_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "_POOL", {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1})
    app = create_app(bench.settings.model_copy(update={"mode": "embedded"}))
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 1), "raise_server_exceptions": False}
    with TestClient(app, **local) as client:
        with app.state.service.engine.connect():
            refused = client.get("/v1/experiments")
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            assert client.get("/healthz").status_code == 200
        assert client.get("/v1/experiments").status_code == 200


@pytest.mark.parametrize("database", ["sqlite", "postgres"] if SOAK else ["postgres"])
@pytest.mark.parametrize("hours", [1, -1] if SOAK else [1])
def test_a_machine_whose_clock_is_an_hour_off_keeps_its_leases(
    bench: Bench, start: Start, check: Callable[..., None], hours: int
) -> None:
    job = bench.add_wait()
    wrong = start(environment={"CLOCK_OFFSET": str(3600 * hours)}, mode="service", lease_seconds=3.0)
    bench.pid()
    right = start(mode="service", lease_seconds=3.0)
    started = time.monotonic()
    until(lambda: time.monotonic() - started > 6, seconds=9)  # two leases
    bench.go()
    done = bench.ended(job)
    assert (done.state, done.attempt) == ("succeeded", 1)
    check(wrong.pid, right.pid)


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresCluster]:
    """A server of our own, since it is stopped."""
    with postgres_cluster() as made:
        yield made


@pytest.fixture
def stoppable(cluster: PostgresCluster, tmp_path: Path) -> Iterator[Bench]:
    """Workers on a database that can be stopped."""
    engine = connect(cluster.url())
    migrate(engine)
    settings = bench_settings(tmp_path, cluster.url(), mode="service", lease_seconds=2.0, retry_seconds=0.05)
    yield Bench(engine, settings, tmp_path)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE; CREATE SCHEMA public"))
    engine.dispose()


def test_a_database_that_is_restarted_or_away_for_longer_than_a_lease_loses_nothing(
    cluster: PostgresCluster, stoppable: Bench
) -> None:
    with worker_processes(stoppable) as start:
        job = stoppable.add_wait()
        start()
        stoppable.pid(0)
        cluster.stop()
        cluster.start()  # within the lease: the attempt goes on
        quick = stoppable.ended(stoppable.add("quick"))
        assert (quick.state, stoppable.job(job).attempt) == ("succeeded", 1)
        cluster.stop()
        stopped = time.monotonic()
        until(lambda: time.monotonic() - stopped > 2.2, seconds=5)
        cluster.start()
        stoppable.pid(1)  # the child was stopped before its lease ended, and the sweep brought the job back
        stoppable.go()
        done = stoppable.ended(job)
        assert (done.state, done.attempt, done.crashes) == ("succeeded", 2, 0)


PLACES = (
    *("sweep", "before-claim", "claimed", "begin", "upload", "uploaded"),
    *("pointer", "pointed", "memory", "done", "result", "applied"),
)
"""Between them lie all of a job's transitions but those that are asked for: a cancel, a release."""


def test_a_restart_of_the_database_at_every_transition_changes_nothing(
    cluster: PostgresCluster, stoppable: Bench
) -> None:
    once = stoppable.folder / "faults"
    once.mkdir()
    faults = {"FAULT": ",".join(f"{place}:sleep:0.5" for place in PLACES), "FAULT_ONCE": str(once)}
    with worker_processes(stoppable) as start:
        made = [stoppable.add("steps"), stoppable.add("train", **train_job(room=9))]
        worker = start(environment=faults, slots=1, max_outages=99)
        restarted: set[str] = set()
        deadline = time.monotonic() + 180
        while restarted != set(PLACES):
            assert time.monotonic() < deadline, f"never came to {set(PLACES) - restarted}"
            new = {file.name for file in once.iterdir()} - restarted
            if new:
                cluster.stop()
                cluster.start()
            restarted |= new
            time.sleep(0.02)
        done = [stoppable.ended(job) for job in made]
        assert [job.state for job in done] == ["succeeded"] * 2
        assert [job.crashes for job in done] == [0, 0]
        assert done[0].result["steps"] == 5
        store = open_store(stoppable.settings)
        invariants.check(stoppable.engine, store, lease_seconds=2.0, workers=[worker.pid])


def test_events_and_answers_come_through_a_restart_of_the_database(cluster: PostgresCluster, stoppable: Bench) -> None:
    app = create_app(stoppable.settings.model_copy(update={"mode": "embedded"}))
    local = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 1), "raise_server_exceptions": False}
    with TestClient(app, **local) as client:
        made = client.post("/v1/experiments", json=SPEC).json()
        stream, following = _followed(stoppable.engine, made["id"])
        until(lambda: stream)
        cluster.stop()
        away = client.get(f"/v1/experiments/{made['id']}")
        assert (away.status_code, away.headers["retry-after"]) == (503, "2")
        assert client.get("/readyz").status_code == 503
        cluster.start()
        assert client.get(f"/v1/experiments/{made['id']}").status_code == 200
        assert client.post(f"/v1/experiments/{made['id']}/cancel").status_code == 200
        following.join(30)
        said = b"".join(stream).decode()
        ids = [int(line.removeprefix("id: ")) for line in said.splitlines() if line.startswith("id: ")]
        assert ids == sorted(set(ids))
        assert "event: end" in said.rstrip().split("\n\n")[-1]


def _followed(engine: Engine, experiment_id: str) -> tuple[list[bytes], Thread]:
    """What a stream of an experiment's events says, and the thread that reads it to its end."""
    seen: list[bytes] = []

    def read(last_id: int) -> list[events.Event]:
        return events.after(engine, experiment_id=experiment_id, last_id=last_id)

    async def follow_all() -> None:
        streams, subject = Streams(engine), Subject(read, partial(_state, engine, experiment_id))
        async for piece in follow(streams, subject, last_id=0, may_read=lambda: True):
            seen.append(piece)

    thread = Thread(target=anyio.run, args=(follow_all,), daemon=True)
    thread.start()
    return seen, thread


def _state(engine: Engine, experiment_id: str) -> dict[str, Any]:
    return {"state": experiments.get(Scope(engine), experiment_id).state}


@POSTGRES
def test_what_deadlocks_is_done_again_and_what_cannot_be_is_raised(engine: Engine) -> None:
    tries: list[int] = []

    def work(session: Any) -> None:
        tries.append(1)
        session.execute(text("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$"))

    with pytest.raises(Unavailable) as raised:
        transact(engine, work)
    assert isinstance(raised.value.__cause__, OperationalError)
    assert len(tries) == 8
    assert events.after(engine) == []
