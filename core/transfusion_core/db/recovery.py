"""What becomes of jobs whose worker died, hung or shut down: queued again, or failed after too many crashes."""

from collections.abc import Callable, Iterable

from sqlalchemy import Engine, Select, and_, or_, select
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.series import plain_text
from transfusion_core.db.tables import Job
from transfusion_core.db.transitions import batches, move, settle
from transfusion_core.errors import Fenced

_LONGEST_BACKOFF_SECONDS = 60.0


def crash(engine: Engine, job_id: str, attempt: int, *, max_crashes: int, error: str) -> list[str]:
    """The job's process died: queue it again after a pause, or fail it (`infrastructure`) at the last crash allowed."""

    def work(session: Session) -> list[str]:
        job = _owned(session, job_id, attempt)
        pause_seconds = min(2.0**job.crashes, _LONGEST_BACKOFF_SECONDS)
        return sorted(_after_crash(session, job, max_crashes=max_crashes, error=error, pause_seconds=pause_seconds))

    return transact(engine, work)


def release(engine: Engine, job_id: str, attempt: int) -> list[str]:
    """The worker shuts down: the job goes back to its queue, and this is not counted against it."""

    def work(session: Session) -> list[str]:
        job = _owned(session, job_id, attempt)
        return sorted(_give_back(session, job))

    return transact(engine, work)


def sweep(engine: Engine, *, max_crashes: int) -> list[str]:
    """Queue again (or fail) running jobs whose lease has ended. Any worker may do it at any time."""
    expired = or_(Job.lease_until.is_(None), Job.lease_until <= clock())
    query = select(Job).where(Job.state == "running", expired)
    return _recover(engine, query, max_crashes=max_crashes, error="The lease ended: the worker gave no sign of life.")


def reclaim(engine: Engine, *, is_alive: Callable[[str], bool], max_crashes: int = 3) -> list[str]:
    """Queue again (or fail) running jobs whose worker is known to be dead, before their lease ends."""
    with unit_of_work(engine, write=False) as session:
        workers = session.scalars(select(Job.worker).where(Job.state == "running").distinct()).all()
    dead = [worker for worker in workers if worker is not None and not is_alive(worker)]
    queues: set[str] = set()
    for batch in batches(dead):
        query = select(Job).where(Job.state == "running", Job.worker.in_(batch))
        queues.update(_recover(engine, query, max_crashes=max_crashes, error="The worker process is gone."))
    return sorted(queues)


def _recover(engine: Engine, query: Select[Job], *, max_crashes: int, error: str) -> list[str]:
    def work(session: Session) -> list[str]:
        jobs = session.scalars(query.order_by(Job.id).with_for_update(skip_locked=True)).all()
        rung: list[Iterable[str]] = [
            _after_crash(session, job, max_crashes=max_crashes, error=error, pause_seconds=0.0) for job in jobs
        ]
        return sorted(set().union(*rung))

    return transact(engine, work)


def _owned(session: Session, job_id: str, attempt: int) -> Job:
    mine = and_(Job.id == job_id, Job.attempt == attempt, Job.state == "running")
    job = session.scalars(select(Job).where(mine).with_for_update()).one_or_none()
    if job is None:
        raise Fenced
    return job


def _after_crash(session: Session, job: Job, *, max_crashes: int, error: str, pause_seconds: float) -> set[str]:
    crashes = job.crashes + 1
    if crashes < max_crashes or job.cancel_requested:
        return _give_back(session, job, crashes=crashes, pause_seconds=pause_seconds)
    why = {"reason": "infrastructure", "error": plain_text(f"Crashed {crashes} times. The last time: {error}")}
    move(session, Job.id == job.id, from_state="running", to_state="failed", crashes=crashes, **why)
    return settle(session, [job.id], "failed")


def _give_back(session: Session, job: Job, *, crashes: int | None = None, pause_seconds: float = 0.0) -> set[str]:
    if job.cancel_requested:
        move(session, Job.id == job.id, from_state="running", to_state="cancelled")
        return settle(session, [job.id], "cancelled")
    not_before = clock(pause_seconds) if pause_seconds else None
    counted = job.crashes if crashes is None else crashes
    here = Job.id == job.id
    move(session, here, from_state="running", to_state="queued", crashes=counted, not_before=not_before)
    return {job.queue}
