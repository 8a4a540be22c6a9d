"""What the database says of all jobs together, for whoever watches over the service."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, get_args

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.orm import Session

from transfusion_core.db.clock import Elapsed, clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.tables import Job, Worker
from transfusion_core.specs.job import Queue

Counts: TypeAlias = dict[tuple[str, ...], float]
"""By the values of some labels."""
WAITED = 200
"""So many of the jobs begun last make a mean wait."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything at one moment."""

    jobs: Counts
    """By state, kind and reason (empty where there is none)."""
    queued: Counts
    age: Counts
    """Seconds since the oldest job of a queue could begin."""
    wait: Counts
    """Mean seconds that the jobs begun last could have begun and had not, by queue: neither what they waited for their
    needs, nor earlier attempts."""
    moves: Counts
    """1 for a queue that somebody works on, else 0, see `moving_queues`."""
    lease_left: float | None
    """Seconds until the first lease ends; below 0 where one has ended and nobody has noticed. None where none runs."""
    longest: float
    """Seconds of the attempt that runs for longest."""
    images_per_second: float


def look(engine: Engine) -> Look:
    """One look, in one transaction."""
    with unit_of_work(engine, write=False) as session:
        running = session.execute(
            select(Job.progress, Elapsed(Job.started_at), Elapsed(Job.lease_until)).where(Job.state == "running")
        ).all()
        return Look(
            jobs=_jobs(session),
            queued=_by_queue(session, func.count(), Job.state == "queued"),
            age=_by_queue(session, func.max(Elapsed(_since())), Job.state == "queued", _since() <= clock()),
            wait=_waits(session),
            moves=_moves(session),
            lease_left=min((-row[2] for row in running if row[2] is not None), default=None),
            longest=max((row[1] or 0.0 for row in running), default=0.0),
            images_per_second=sum(_speed(row[0]) for row in running),
        )


def moving_queues(engine: Engine) -> set[str]:
    """Queues that somebody works on: a worker that serves them is at work, under a lease that has not ended.

    Not of a queue's own jobs alone: a worker for two queues may be busy with the other for hours, and will come back.
    """
    with unit_of_work(engine, write=False) as session:
        return _moving(session)


def _moving(session: Session) -> set[str]:
    alive = (Job.state == "running", Job.lease_until > clock())
    served = select(Worker.found).where(Worker.name.in_(select(Job.worker).where(*alive)))
    found = set(session.scalars(select(Job.queue).where(*alive).distinct()))
    return found.union(*(worker.get("queues", []) for worker in session.scalars(served)))


def _moves(session: Session) -> Counts:
    moving = _moving(session)
    return {(queue,): float(queue in moving) for queue in get_args(Queue)}


def _since() -> ColumnElement[datetime]:
    """Since when a queued job can begin."""
    return func.coalesce(Job.not_before, Job.created_at)


def _jobs(session: Session) -> Counts:
    reason = func.coalesce(Job.reason, "")
    query = select(Job.state, Job.kind, reason, func.count()).group_by(Job.state, Job.kind, reason)
    return {(state, kind, why): count for state, kind, why, count in session.execute(query)}


def _by_queue(session: Session, value: ColumnElement[Any], *where: ColumnElement[bool]) -> Counts:
    query = select(Job.queue, value).where(*where).group_by(Job.queue)
    return {(queue,): found for queue, found in session.execute(query)}


def _waits(session: Session) -> Counts:
    begun = select(Job.queue, Job.started_at, Job.not_before).where(Job.started_at.is_not(None))
    sums: dict[str, list[float]] = {}
    for queue, started_at, since in session.execute(begun.order_by(Job.started_at.desc()).limit(WAITED)):
        assert started_at is not None
        # Later: queued again since. None: begun by a worker of a version that does not keep it.
        if since is not None and since <= started_at:
            sums.setdefault(queue, []).append((started_at - since).total_seconds())
    return {(queue,): sum(waits) / len(waits) for queue, waits in sums.items()}


def _speed(progress: dict[str, Any] | None) -> float:
    speed = (progress or {}).get("images_per_second")
    return float(speed) if isinstance(speed, int | float) else 0.0
