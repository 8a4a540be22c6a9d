"""Comparisons: those that somebody asked for by themselves, and those that experiments made."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from transfusion_core.db import audit
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.idempotency import Request, answered, remember
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.placing import place
from transfusion_core.db.records import Created
from transfusion_core.db.scope import Scope, is_reached
from transfusion_core.db.tables import Comparison as Asked
from transfusion_core.db.tables import Job, Need
from transfusion_core.errors import NotFound
from transfusion_core.specs.job import JobDraft


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison as it stands; `a` and `b` are checkpoint names, `RUN@final`."""

    id: str
    key: str
    state: str
    reason: str | None
    a: str
    b: str
    created_at: datetime
    result: dict[str, Any] | None


def create(
    scope: Scope,
    draft: JobDraft,
    a: str,
    b: str,
    *,
    needs: Sequence[JobDraft] = (),
    priority: int = 10,
    idempotency: Request | None = None,
) -> Created:
    """Ask for a comparison, and for those of its `needs` that may not be there yet.

    Where the same was measured or asked before, that one answers, with `is_new` False.
    """

    def work(session: Session) -> Created:
        done = answered(session, scope, idempotency)
        if done:
            return done
        placed = place(session, scope, [*needs, draft], priority=priority)
        job_id = placed.ids[draft.key]
        is_new = session.get(Asked, (scope.project, job_id)) is None
        if is_new:
            session.add(Asked(project=scope.project, id=job_id, a=a, b=b))
            session.flush()
        remember(session, scope, idempotency, job_id)
        audit.add(session, scope, "comparison.create", job_id)
        return Created(job_id, sorted(placed.queues), is_new=is_new)

    return transact(scope.engine, work)


def get(scope: Scope, comparison_id: str) -> Comparison:
    """One comparison. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        query = select(Job).where(Job.id == comparison_id, Job.kind == "compare", is_reached(scope))
        job = session.scalars(query).one_or_none()
        if job is None:
            raise NotFound(f"there is no comparison {comparison_id!r}")
        return _comparisons(session, scope, [job])[0]


def page(scope: Scope, *, limit: int, cursor: str | None = None, state: str | None = None) -> Page[Comparison]:
    """The project's comparisons, newest first."""
    query = select(Job).where(Job.kind == "compare", is_reached(scope))
    if state is not None:
        query = query.where(Job.state == state)
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Job.id, limit=limit, cursor=cursor)
        items = _comparisons(session, scope, [job for (job,) in rows])
        return Page(items, cursor_after(items[-1].id) if more else None)


def _comparisons(session: Session, scope: Scope, jobs: Sequence[Job]) -> list[Comparison]:
    ids = [job.id for job in jobs]
    mine = select(Asked).where(Asked.project == scope.project, Asked.id.in_(ids))
    asked = {row.id: row for row in session.scalars(mine)}
    query = select(Need.job_id, Job.key, Job.id).join(Job, Job.id == Need.need_id).where(Need.job_id.in_(ids))
    runs = {(job_id, key): run_id for job_id, key, run_id in session.execute(query)}
    return [
        Comparison(
            id=job.id,
            key=job.key,
            state=job.state,
            reason=job.reason,
            a=asked[job.id].a if job.id in asked else _name(job, "a", runs),
            b=asked[job.id].b if job.id in asked else _name(job, "b", runs),
            created_at=job.created_at,
            result=job.result,
        )
        for job in jobs
    ]


def _name(job: Job, side: str, runs: dict[tuple[str, str], str]) -> str:
    reference = job.spec[side]
    return f"{runs[job.id, reference['run']]}@{reference['checkpoint']}"
