"""Many hands on the same rows: each job is claimed once, and nobody is told that the database is locked."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Engine, select, text, update

from beats import beat_at_once
from platforms import SOAK
from transfusion_core.db import events, jobs
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.records import ClaimedJob, Point
from transfusion_core.db.tables import Job, bare
from transfusion_core.specs.job import JobDraft

QUEUES = ("gpu", "cpu")
DOORBELLS = 1000 if SOAK else 100
BEATING, BEATS = (200, 20) if SOAK else (40, 4)
HELD_SECONDS = 10.0 if SOAK else 1.0


def _claim(engine: Engine, worker: str = "w", *, most_gpus: int | None = None) -> ClaimedJob | None:
    return jobs.claim(engine, worker=worker, queues=QUEUES, lease_seconds=60, most_gpus=most_gpus)


def _training(gpus: int, name: str = "") -> JobDraft:
    """One in the form that experiments make, where `gpus` stands in the spec if it is not 1."""
    training = {"lr": 0.1} if gpus == 1 else {"lr": 0.1, "gpus": gpus}
    return JobDraft.make("train", {"name": name, "training": training}, labels={"gpus": gpus})


def test_a_thousand_claims_over_a_hundred_jobs_take_each_once(engine, world):
    world.place(*(world.draft(f"j{n}") for n in range(100)))
    with ThreadPoolExecutor(10) as pool:
        claimed = [job.id for job in pool.map(lambda n: _claim(engine, f"w{n}"), range(1000)) if job]
    assert len(claimed) == len(set(claimed)) == 100
    assert len([event for event in events.after(engine, limit=5000) if event.data["to"] == "running"]) == 100


def test_of_many_jobs_that_beat_at_once_none_loses_its_lease(engine):
    url = engine.url.render_as_string(hide_password=False)
    count = BEATING if engine.dialect.name == "postgresql" else 20  # an embedded platform has no more
    beaten = beat_at_once(url, count, rounds=BEATS, lease_seconds=6, every_seconds=1)
    assert beaten.lost == 0
    assert len(beaten.seconds) == count * BEATS
    assert beaten.least_left_seconds > 0


def test_two_workers_that_hear_one_doorbell_again_and_again_claim_once_each_time(engine, world):
    world.place(world.draft("a"))
    barrier = Barrier(2)

    def hear(worker: str) -> list[int]:
        """The attempts that this worker got."""
        got: list[int] = []
        for _ in range(DOORBELLS):
            barrier.wait(60)
            job = _claim(engine, worker)
            barrier.wait(60)
            if job:
                got.append(job.attempt)
                with unit_of_work(engine) as session:  # as a release does, and faster
                    session.execute(update(Job).values(state="queued", not_before=None))
        return got

    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(hear, ["one", "two"])
    assert sorted(one + two) == list(range(1, DOORBELLS + 1))


def test_what_waits_for_many_is_released_once_however_they_end_at_once(engine, world):
    rounds = 30 if SOAK else 6
    for each in range(rounds):
        needs = [world.draft(f"{each} need {number}") for number in range(8)]
        world.place(*needs, world.draft(f"{each} report", *needs, kind="report", needs_success=False))

        def work(_hand: int) -> list[str]:
            """Claim and end jobs until there are none; the queues to ring."""
            rung: list[str] = []
            while (job := jobs.claim(engine, worker="w", queues=["gpu"], lease_seconds=60)) is not None:
                rung += jobs.succeed(engine, job.id, job.attempt, {})
            return rung

        with ThreadPoolExecutor(4) as pool:
            rung = [queue for found in pool.map(work, range(4)) for queue in found]
        assert rung == ["cpu"], each
        report = jobs.claim(engine, worker="w", queues=["cpu"], lease_seconds=60)
        assert report is not None
        assert report.kind == "report"
        jobs.succeed(engine, report.id, report.attempt, {})


def _holding(engine: Engine, seconds: float, held: threading.Event) -> None:
    with unit_of_work(engine) as session:
        session.execute(text("UPDATE jobs SET error = error"))
        held.set()
        time.sleep(seconds)


def test_who_writes_waits_for_a_writer_that_takes_its_time(engine, world):
    world.place(world.draft("a"), world.draft("b"))
    held = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(_holding, engine, HELD_SECONDS, held)
        held.wait(10)
        started = time.monotonic()
        assert jobs.queue_depth(engine) == {"gpu": 2}, "readers do not wait"
        assert time.monotonic() - started < 0.5
        if engine.dialect.name == "sqlite":
            assert _claim(engine) is not None
            assert time.monotonic() - started > HELD_SECONDS / 2
        holding.result()


def test_eight_writers_at_once_are_never_told_that_the_database_is_locked(engine, world):
    world.place(*(world.draft(f"j{n}") for n in range(16)))

    def work(worker: str) -> int:
        """What an embedded worker writes for two jobs."""
        done = 0
        while (job := _claim(engine, worker)) and done < 2:
            for step in range(10):
                jobs.add_points(engine, job.id, job.attempt, [Point(step, "loss", "train", 1.0)])
                jobs.add_log(engine, job.id, job.attempt, [f"step {step}"])
                jobs.beat(engine, job.id, job.attempt, lease_seconds=60, progress={"step": step})
                events.after(engine, job_id=job.id)
            jobs.succeed(engine, job.id, job.attempt, {"worker": worker})
            done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, map(str, range(8)))) >= 8
    assert jobs.counts_by_state_kind(engine)["succeeded", "train"] >= 8


def test_a_column_that_an_old_worker_does_not_know_does_not_disturb_it(engine, world):
    world.place(world.draft("a"))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE jobs ADD COLUMN of_a_later_version INTEGER DEFAULT 0"))
    try:
        job = _claim(engine)
        assert job is not None
        jobs.succeed(engine, job.id, job.attempt, {})
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE jobs DROP COLUMN of_a_later_version"))


def test_workers_take_the_jobs_that_their_gpus_are_enough_for(engine, world):
    world.place(*(_training(gpus) for gpus in (8, 4, 1, 2)), world.draft("look", kind="compare"))

    def claimed(most_gpus: int | None) -> list[int]:
        found = []
        while job := _claim(engine, most_gpus=most_gpus):
            found.append(job.labels.get("gpus", 1))
            with unit_of_work(engine) as session:
                session.execute(update(Job).where(Job.id == job.id).values(state="succeeded"))
        return found

    assert claimed(1) == [1, 1]
    world.place(_training(1, "another"))
    assert claimed(4) == [1, 4, 2], "whose turn it is, small or large"
    assert jobs.queue_depth(engine) == {"gpu": 1}, "what nobody can do waits, and does not fail"
    assert claimed(None) == [8], "on a processor the parts are processes"


def test_a_row_that_says_nothing_of_gpus_is_for_any_worker(engine, world):
    placed = world.place(world.draft("a"))
    with engine.begin() as connection:  # as a process of the version before the column writes it
        names = [each.name for each in bare(Job).columns if each.name != "gpus"]
        columns, values = ", ".join(names), ", ".join({"id": "'old'", "key": "'old'"}.get(name, name) for name in names)
        connection.execute(text(f"INSERT INTO jobs ({columns}) SELECT {values} FROM jobs"))
    assert {job.id for job in (_claim(engine, most_gpus=1) for _ in range(2)) if job} == {"old", *placed.ids.values()}


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
def test_jobs_that_are_too_large_are_passed_over_without_a_look_at_their_rows(engine, world):
    world.place(*(_training(4, str(n)) for n in range(1000)), _training(1))
    with unit_of_work(engine) as session:
        jobs._take_in_order(session)
        best = select(jobs._best(QUEUES, most_gpus=1)).compile(engine, compile_kwargs={"literal_binds": True})
        plan = "\n".join(session.scalars(text(f"EXPLAIN ANALYZE {best}")))
    assert "Index Scan using ix_jobs_queued" in plan
    assert "Index Cond: (gpus <= 1)" in plan
    assert "Rows Removed" not in plan
