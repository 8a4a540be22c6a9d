"""Jobs: claim, beat, end. Every write of a worker names job and attempt, and is refused once another owns it."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Engine,
    Executable,
    and_,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.orm import Session

from transfusion_core.db import quotas
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import glance, transact, unit_of_work
from transfusion_core.db.records import Beat, ClaimedJob, JobRow, NeededJob, Point
from transfusion_core.db.recovery import crash, pause_before, put_off, reclaim, release, sweep
from transfusion_core.db.series import add_log, add_points, log, plain_text, points
from transfusion_core.db.tables import Dataset, Job, Need
from transfusion_core.db.transitions import batches, move, settle
from transfusion_core.errors import Fenced, NotFound
from transfusion_core.specs.job import Handover, Origin, Reason
from transfusion_core.specs.removal import object_bytes

__all__ = [
    "Beat",
    "ClaimedJob",
    "JobRow",
    "NeededJob",
    "Point",
    "add_log",
    "add_points",
    "beat",
    "cancelled",
    "claim",
    "counts_by_state_kind",
    "crash",
    "fail",
    "get",
    "hand_over",
    "log",
    "oldest_queued_seconds",
    "pause_before",
    "points",
    "put_off",
    "queue_depth",
    "reclaim",
    "release",
    "results",
    "succeed",
    "sweep",
]


def claim(
    engine: Engine, *, worker: str, queues: Sequence[str], lease_seconds: float, most_gpus: int | None = None
) -> ClaimedJob | None:
    """Take the best queued job of these queues: highest priority, then whose turn it is (sharing.py), then oldest.

    None where there is none that its owner's quota lets begin and that needs no more than `most_gpus`; without that
    jobs run on the processor, which does those of any number of GPUs.
    """
    with unit_of_work(engine) as session:
        _take_in_order(session)
        full = quotas.exhausted(session)
        moved = move(
            session,
            Job.id == _best(queues, full, most_gpus),
            from_state="queued",
            to_state="running",
            worker=worker,
            attempt=Job.attempt + 1,
            lease_until=clock(lease_seconds),
            progress=None,
            cancel_requested=False,
        )
        return _claimed(session, moved[0].id) if moved else None


def _take_in_order(session: Session) -> None:
    """Have PostgreSQL walk the index of queued jobs, and not sort them all: after thousands came at once it takes them,
    until its next statistics, for a handful.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"))


def _best(queues: Sequence[str], full: Sequence[str] = (), most_gpus: int | None = None) -> ColumnElement[str]:
    """The next job of these queues that fits, and whose owner is none of those who have as many at work as they may."""
    # The state is written into the statement: a partial index is not used for a bound parameter.
    return (
        select(Job.id)
        .where(
            Job.state == literal_column("'queued'"),
            Job.queue.in_(queues),
            or_(Job.not_before.is_(None), Job.not_before <= clock()),
            *([or_(Job.owner.is_(None), Job.owner.not_in(full))] if full else []),
            *([Job.gpus <= most_gpus] if most_gpus is not None else []),
        )
        .order_by(Job.turn, Job.share, Job.created_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )


def _claimed(session: Session, job_id: str) -> ClaimedJob:
    job, needs = (session.execute(query, {"job_id": job_id}).mappings() for query in _claimed_queries())
    words = dict(job.one())
    handover, origin = words.pop("handover"), words.pop("origin")
    return ClaimedJob(
        **words,
        needs=[NeededJob(**need) for need in needs],
        handover=Handover.model_validate(handover or {}),
        origin=Origin.model_validate(origin or {}),
    )


@cache
def _claimed_queries() -> tuple[Executable, Executable]:
    """What a worker is told of its job, and of those that it needs; made once, which takes longer than asking."""
    job_id: BindParameter[str] = bindparam("job_id")
    told = [getattr(Job, field.name) for field in fields(ClaimedJob) if field.name != "needs"]
    of_needs = [getattr(Job, field.name) for field in fields(NeededJob)]
    needs = select(*of_needs).join(Need, Need.need_id == Job.id).where(Need.job_id == job_id)
    return select(*told).where(Job.id == job_id), needs


def _mine(job_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(Job.id == job_id, Job.attempt == attempt)


def beat(
    engine: Engine, job_id: str, attempt: int, *, lease_seconds: float, progress: dict[str, Any] | None = None
) -> Beat:
    """Extend the lease and tell progress (None leaves it as it was). Raises Fenced."""
    told = {} if progress is None else {"progress": progress}
    statement = (
        update(Job)
        .where(_mine(job_id, attempt), Job.state == "running")
        .values(lease_until=clock(lease_seconds), **told)
        .returning(Job.cancel_requested)
        .execution_options(synchronize_session=False)
    )
    with unit_of_work(engine) as session:
        row = session.execute(statement).one_or_none()
        if row is None:
            raise Fenced
        return Beat(cancel_requested=row.cancel_requested)


def hand_over(engine: Engine, job_id: str, attempt: int, handover: Handover) -> None:
    """Say what the next attempt may start from. Crashes count anew: the job got on. Raises Fenced."""
    told = {"handover": handover.model_dump(mode="json"), "crashes": 0}
    mine = and_(_mine(job_id, attempt), Job.state == "running")
    statement = update(Job).where(mine).values(**told).returning(Job.id).execution_options(synchronize_session=False)
    with unit_of_work(engine) as session:
        if session.execute(statement).one_or_none() is None:
            raise Fenced


def succeed(engine: Engine, job_id: str, attempt: int, result: dict[str, Any]) -> list[str]:
    """Apply the result and queue what waited for it; the queues to ring. Raises Fenced."""

    def work(session: Session) -> list[str]:
        mine = _mine(job_id, attempt)
        if other := _another_dataset(session, job_id, result):
            return _failed(session, mine, job_id, "data", other, None)
        stored = {"result": result, "stored_bytes": object_bytes(result), "handover": None}
        moved = move(session, mine, from_state="running", to_state="succeeded", **stored)
        if not moved:
            raise Fenced
        if moved[0].kind == "ingest":
            session.execute(update(Dataset).where(Dataset.job_id == job_id).values(result=result))
        return sorted(settle(session, [job_id], "succeeded"))

    return transact(engine, work)


def fail(
    engine: Engine, job_id: str, attempt: int, *, reason: Reason, error: str, detail: dict[str, Any] | None = None
) -> list[str]:
    """The job cannot be done: what needs its success fails too, reports that waited for its end may start."""

    return transact(engine, lambda session: _failed(session, _mine(job_id, attempt), job_id, reason, error, detail))


def _failed(
    session: Session, mine: ColumnElement[bool], job_id: str, reason: Reason, error: str, detail: dict[str, Any] | None
) -> list[str]:
    why = {"reason": reason, "error": plain_text(error), "detail": detail}
    if not move(session, mine, from_state="running", to_state="failed", **why):
        raise Fenced
    return sorted(settle(session, [job_id], "failed"))


def _another_dataset(session: Session, job_id: str, result: dict[str, Any]) -> str | None:
    """What is wrong with an ingest that is done again, as its bytes were lost, and finds other images or labels."""
    if "digest" not in result or "pack" not in result:
        return None
    before = session.scalars(select(Dataset.result).where(Dataset.job_id == job_id, Dataset.result.is_not(None)))
    digests = {found["digest"] for found in before} - {result["digest"]}
    if not digests:
        return None
    return f"what lies there now is not what was registered: expected digest {min(digests)}, got {result['digest']}"


def cancelled(engine: Engine, job_id: str, attempt: int) -> list[str]:
    """The worker stopped as it was asked to. Where somebody came to want the job since, it is queued again."""

    def work(session: Session) -> list[str]:
        unwanted = and_(_mine(job_id, attempt), Job.cancel_requested)
        if move(session, unwanted, from_state="running", to_state="cancelled"):
            return sorted(settle(session, [job_id], "cancelled"))
        wanted = move(session, _mine(job_id, attempt), from_state="running", to_state="queued")
        if not wanted:
            raise Fenced
        return [wanted[0].queue]

    return transact(engine, work)


def get(engine: Engine, job_id: str) -> JobRow:
    """One job. Raises NotFound."""
    with unit_of_work(engine, write=False) as session:
        row = session.get(Job, job_id)
        if row is None:
            raise NotFound(f"there is no job {job_id!r}")
        return JobRow.of(row)


def results(engine: Engine, keys: Iterable[str]) -> dict[str, dict[str, Any] | None]:
    """What the shared job of each of these keys that has succeeded has found."""
    with glance(engine) as connection:
        return {key: result for batch in batches(keys) for key, result in connection.execute(_done(), {"keys": batch})}


def complaints(engine: Engine, keys: Iterable[str]) -> list[str]:
    """What jobs of these keys said that failed for want of something: each thing once."""
    failed = select(Job.error).where(Job.state == "failed", Job.reason == "infrastructure", Job.error.is_not(None))
    with unit_of_work(engine, write=False) as session:
        told = [session.scalars(failed.where(Job.key.in_(batch)).distinct()).all() for batch in batches(keys)]
    return [error for errors in told for error in errors if error is not None]


@cache
def _done() -> Executable:
    shared = select(Job.key, Job.result).where(Job.shared, Job.state == "succeeded")
    return shared.where(Job.key.in_(bindparam("keys", expanding=True)))


def queue_depth(engine: Engine) -> dict[str, int]:
    """Queued jobs by queue."""
    query = select(Job.queue, func.count()).where(Job.state == "queued").group_by(Job.queue)
    with unit_of_work(engine, write=False) as session:
        return {row[0]: row[1] for row in session.execute(query)}


def counts_by_state_kind(engine: Engine) -> dict[tuple[str, str], int]:
    """Jobs by (state, kind)."""
    query = select(Job.state, Job.kind, func.count()).group_by(Job.state, Job.kind)
    with unit_of_work(engine, write=False) as session:
        return {(state, kind): count for state, kind, count in session.execute(query)}


def oldest_queued_seconds(engine: Engine, *, most_gpus: int | None = None) -> dict[str, float]:
    """How long some job that needs no more than `most_gpus` could have been claimed and was not, at most, by queue; of
    those queues alone where one can be.
    """
    since = func.coalesce(Job.not_before, Job.created_at)
    query = select(Job.queue, clock(), func.min(since)).where(Job.state == "queued", since <= clock())
    if most_gpus is not None:
        query = query.where(Job.gpus <= most_gpus)
    with unit_of_work(engine, write=False) as session:
        rows = session.execute(query.group_by(Job.queue))
        return {queue: float((now - oldest).total_seconds()) for queue, now, oldest in rows}
