"""What an API key may use of the service: jobs at once, hours of GPU, bytes in the store.

A job is on the account of the key that first asked for it; whoever comes to share it later pays nothing.
"""

from collections.abc import Sequence
from functools import cache

from sqlalchemy import Engine, Executable, func, select
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import ApiKey, Job
from transfusion_core.errors import QuotaExceeded
from transfusion_core.specs.quota import GPU_DAYS, Quota, Usage

_DAY_SECONDS = 86_400.0


def usage(session: Session, owner: str) -> Usage:
    """What this key has used."""
    mine = Job.owner == owner
    recent = Job.started_at > clock(-GPU_DAYS * _DAY_SECONDS)
    at_work = select(func.count()).where(mine, Job.state == "running")
    of_gpus = func.coalesce(func.sum(Job.busy_seconds * Job.gpus), 0.0)
    busy = select(of_gpus).where(mine, Job.queue == "gpu", recent)
    stored = select(func.coalesce(func.sum(Job.stored_bytes), 0)).where(mine)
    return Usage(
        running_jobs=session.scalar(at_work) or 0,
        gpu_hours=round((session.scalar(busy) or 0.0) / 3600, 4),
        stored_bytes=session.scalar(stored) or 0,
    )


def standing(scope: Scope) -> tuple[Quota, Usage] | None:
    """The quota of whoever asks, and what is used of it; None without a quota."""
    with unit_of_work(scope.engine, write=False) as session:
        quota = _quota(session, scope.actor)
        return (quota, usage(session, scope.actor)) if quota else None


def usages(engine: Engine, owners: Sequence[str]) -> dict[str, Usage]:
    """What each of these keys has used."""
    with unit_of_work(engine, write=False) as session:
        return {owner: usage(session, owner) for owner in owners}


def check(session: Session, scope: Scope) -> None:
    """Whether whoever asks may have more done. Raises QuotaExceeded."""
    quota = _quota(session, scope.actor)
    if quota is None:
        return
    faults = quota.exceeded(usage(session, scope.actor))
    if faults:
        raise QuotaExceeded(f"{'; '.join(faults)}; ask whoever runs the service, or delete what you do not need")


def exhausted(session: Session) -> list[str]:
    """Keys that have as many jobs at work as they may; they are held until the claim that asks is committed."""
    limits = {row.id: row.quota_running_jobs for row in session.execute(_limited())}
    if not limits:
        return []
    at_work = select(Job.owner, func.count()).where(Job.owner.in_(limits), Job.state == "running").group_by(Job.owner)
    counts = {row[0]: row[1] for row in session.execute(at_work)}
    return [owner for owner, limit in limits.items() if counts.get(owner, 0) >= limit]


@cache
def _limited() -> Executable:
    most = select(ApiKey.id, ApiKey.quota_running_jobs).where(ApiKey.quota_running_jobs.is_not(None))
    return most.order_by(ApiKey.id).with_for_update()


def _quota(session: Session, owner: str) -> Quota | None:
    row = session.get(ApiKey, owner)
    return quota_of(row) if row else None


def quota_of(row: ApiKey) -> Quota | None:
    """The quota in a row; None where nothing is limited."""
    quota = Quota(
        running_jobs=row.quota_running_jobs, gpu_hours=row.quota_gpu_hours, stored_bytes=row.quota_stored_bytes
    )
    return quota if quota != Quota() else None
