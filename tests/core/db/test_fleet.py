"""What the database says of all jobs together: how long they wait in the queue."""

import pytest
from sqlalchemy import Engine, update

from transfusion_core.db import fleet, jobs
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.records import ClaimedJob
from transfusion_core.db.tables import Job

GPU, CPU = ("gpu",), ("cpu",)


def _claim(engine: Engine) -> ClaimedJob:
    job = jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
    assert job is not None
    return job


def _since(engine: Engine, job_id: str, **seconds: float) -> None:
    """Have something of a job been so long ago."""
    with unit_of_work(engine) as session:
        times = {name: clock(-ago) for name, ago in seconds.items()}
        session.execute(update(Job).where(Job.id == job_id).values(**times))


def test_a_wait_is_that_in_the_queue_and_not_that_for_needs(engine: Engine, world) -> None:
    need = world.draft("need", kind="ingest")
    job = world.draft("job", need)
    placed = world.place(need, job)
    _since(engine, placed.ids[need.key], created_at=200, not_before=110)
    first = _claim(engine)
    jobs.succeed(engine, first.id, first.attempt, {})
    _since(engine, placed.ids[job.key], created_at=105, not_before=5)
    assert _claim(engine).key == job.key
    waits = fleet.look(engine).wait
    assert waits[GPU] == pytest.approx(5, abs=1)
    assert waits[CPU] == pytest.approx(110, abs=1)


def test_what_begins_again_has_waited_since_it_was_given_back(engine: Engine, world) -> None:
    placed = world.place(world.draft("a"))
    (job_id,) = placed.ids.values()
    first = _claim(engine)
    _since(engine, job_id, created_at=1000, not_before=900, started_at=800)
    jobs.release(engine, job_id, first.attempt)
    assert fleet.look(engine).wait == {}, "it waits, and has not begun again"
    _since(engine, job_id, not_before=3)
    second = _claim(engine)
    assert fleet.look(engine).wait[GPU] == pytest.approx(3, abs=1)
    jobs.succeed(engine, job_id, second.attempt, {})
    assert fleet.look(engine).wait[GPU] == pytest.approx(3, abs=1), "of those that have ended too"


def test_the_mean_is_of_the_jobs_begun_last_and_not_of_the_newest(engine: Engine, world, monkeypatch) -> None:
    monkeypatch.setattr(fleet, "WAITED", 2)
    placed = world.place(*(world.draft(str(number)) for number in range(4)))
    for job_id, (waited, ago) in zip(placed.ids.values(), ((10, 1), (20, 2), (70, 3), (80, 4)), strict=True):
        assert _claim(engine).id == job_id
        _since(engine, job_id, not_before=waited + ago, started_at=ago)
    assert fleet.look(engine).wait[GPU] == pytest.approx(15, abs=1)


def test_a_job_that_an_older_worker_began_tells_no_wait(engine: Engine, world) -> None:
    world.place(world.draft("a"))
    _claim(engine)
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(not_before=None))
    assert fleet.look(engine).wait == {}
