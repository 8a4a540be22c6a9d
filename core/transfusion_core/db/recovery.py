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
from transfusion_core.specs.job import Handover

_LONGEST_PAUSE_SECONDS = 60.0


def pause_before(retry_seconds: float, tries: int) -> float:
    """How long a job that was tried so often in vain waits: twice as long each time, up to a minute."""
    return min(retry_seconds * 2.0**tries, _LONGEST_PAUSE_SECONDS)


def crash(
    engine: Engine, job_id: str, attempt: int, *, max_crashes: int, error: str, retry_seconds: float = 1.0
) -> list[str]:
    """The job's process died: queue it again after a pause, or fail it (`infrastructure`) at the last crash allowed."""

    def work(session: Session) -> list[str]:
        job = _owned(session, job_id, attempt)
        pause_seconds = pause_before(retry_seconds, job.crashes)
        return sorted(_after_crash(session, job, max_crashes=max_crashes, error=error, pause_seconds=pause_seconds))

    return transact(engine, work)


def release(engine: Engine, job_id: str, attempt: int) -> list[str]:
    """The worker shuts down: the job goes back to its queue, and this is not counted against it."""

    def work(session: Session) -> list[str]:
        job = _owned(session, job_id, attempt)
        return sorted(_give_back(session, job))

    return transact(engine, work)


def put_off(engine: Engine, job_id: str, attempt: int, *, handover: Handover, pause_seconds: float) -> list[str]:
    """Something that the job needs is away: it goes back to its queue for a while, and no crash is counted."""

    def work(session: Session) -> list[str]:
        job = _owned(session, job_id, attempt)
        _keep(session, job, handover)
        return sorted(_give_back(session, job, pause_seconds=pause_seconds))

    return transact(engine, work)


def sweep(engine: Engine, *, max_outages: int) -> list[str]:
    """Queue again (or fail) running jobs whose lease has ended. Any worker may do it at any time."""
    expired = or_(Job.lease_until.is_(None), Job.lease_until <= clock())
    query = select(Job).where(Job.state == "running", expired)
    return _recover(engine, query, max_outages=max_outages, error="The lease ended: the worker gave no sign of life.")


def reclaim(engine: Engine, *, is_alive: Callable[[str], bool], max_outages: int) -> list[str]:
    """Queue again (or fail) running jobs whose worker is known to be dead, before their lease ends."""
    with unit_of_work(engine, write=False) as session:
        workers = session.scalars(select(Job.worker).where(Job.state == "running").distinct()).all()
    dead = [worker for worker in workers if worker is not None and not is_alive(worker)]
    queues: set[str] = set()
    for batch in batches(dead):
        query = select(Job).where(Job.state == "running", Job.worker.in_(batch))
        queues.update(_recover(engine, query, max_outages=max_outages, error="The worker process is gone."))
    return sorted(queues)


def _recover(engine: Engine, query: Select[Job], *, max_outages: int, error: str) -> list[str]:
    def work(session: Session) -> list[str]:
        jobs = session.scalars(query.order_by(Job.id).with_for_update(skip_locked=True)).all()
        rung: list[Iterable[str]] = [_after_loss(session, job, max_outages=max_outages, error=error) for job in jobs]
        return sorted(set().union(*rung))

    return transact(engine, work)


def _after_loss(session: Session, job: Job, *, max_outages: int, error: str) -> set[str]:
    """A worker that was lost is mostly not the job's doing: it is no crash, and given up only after many in a row."""
    handover = Handover.model_validate(job.handover or {}).after_outage()
    if handover.outages < max_outages or job.cancel_requested:
        _keep(session, job, handover)
        return _give_back(session, job)
    why = {"reason": "infrastructure", "error": f"Its worker was lost {handover.outages} times. The last time: {error}"}
    move(session, Job.id == job.id, from_state="running", to_state="failed", **why)
    return settle(session, [job.id], "failed")


def _keep(session: Session, job: Job, handover: Handover) -> None:
    job.handover = handover.model_dump(mode="json")
    session.flush()


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
    counted = job.crashes if crashes is None else crashes
    later = clock(pause_seconds)
    move(session, Job.id == job.id, from_state="running", to_state="queued", crashes=counted, not_before=later)
    return {job.queue}
