"""Many jobs that all beat at the same moment, again and again, while a reaper looks for leases that ended."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from transfusion_core.db import jobs
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import connect, transact, unit_of_work
from transfusion_core.db.placing import place
from transfusion_core.db.records import ClaimedJob
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job
from transfusion_core.errors import Fenced
from transfusion_core.specs.job import JobDraft

WORKERS = 3
"""With connections of their own, as many as one process has."""


@dataclass
class Beaten:
    """What became of the beats and of the leases."""

    seconds: list[float] = field(default_factory=list)
    """That each beat took."""
    least_left_seconds: float = float("inf")
    """Of any lease at any moment, by the database's clock."""
    lost: int = 0
    """Jobs that are no longer running in their first attempt, and beats that were fenced."""


def beat_at_once(database_url: str, count: int, *, rounds: int, lease_seconds: float, every_seconds: float) -> Beaten:
    """So many jobs, placed here and claimed, that beat all at once, so many times."""
    engines = [connect(database_url) for _ in range(WORKERS)]
    drafts = [JobDraft.make("train", {"name": f"beats {number}"}) for number in range(count)]
    transact(engines[0], lambda session: place(session, Scope(engines[0]), drafts))
    # The first lease is long: to claim them all, one after the other, may take longer than a lease.
    held = [jobs.claim(engines[0], worker="w", queues=["gpu"], lease_seconds=600) for _ in drafts]
    beaten, ended = Beaten(), threading.Event()
    reaper = threading.Thread(target=_reap, args=(engines[0], ended, beaten))
    reaper.start()
    with ThreadPoolExecutor(count) as pool:
        for _ in range(rounds):
            began, together = time.monotonic(), threading.Barrier(count)
            hands = [
                pool.submit(_beat, engines[number % WORKERS], job, lease_seconds, together, beaten)
                for number, job in enumerate(held)
            ]
            for hand in hands:
                hand.result()
            time.sleep(max(0.0, began + every_seconds - time.monotonic()))
    ended.set()
    reaper.join()
    beaten.lost += count - _unharmed(engines[0])
    for engine in engines:
        engine.dispose()
    return beaten


def _beat(
    engine: Engine, job: ClaimedJob | None, lease_seconds: float, together: threading.Barrier, beaten: Beaten
) -> None:
    assert job is not None
    together.wait(60)
    began = time.perf_counter()
    try:
        jobs.beat(engine, job.id, job.attempt, lease_seconds=lease_seconds)
    except Fenced:
        beaten.lost += 1
    beaten.seconds.append(time.perf_counter() - began)


def _reap(engine: Engine, ended: threading.Event, beaten: Beaten) -> None:
    while not ended.wait(0.2):
        jobs.sweep(engine, max_outages=9)
        with unit_of_work(engine, write=False) as session:
            first, now = session.execute(select(func.min(Job.lease_until), clock()).where(Job.state == "running")).one()
        if first is not None:
            beaten.least_left_seconds = min(beaten.least_left_seconds, (first - now).total_seconds())


def _unharmed(engine: Engine) -> int:
    with unit_of_work(engine, write=False) as session:
        return session.scalar(select(func.count()).where(Job.state == "running", Job.attempt == 1)) or 0
