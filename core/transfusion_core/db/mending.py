"""Datasets of an experiment whose bytes the store has lost: they are made again, in the place of what is lost."""

from collections.abc import Sequence
from typing import cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from transfusion_core.db.placing import place
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import ExperimentJob, Job, Need
from transfusion_core.db.transitions import lock
from transfusion_core.specs.job import OF_DATASETS, JobDraft, JobKind

_YET_TO_START = ("waiting", "failed", "cancelled")


def replace_lost(session: Session, scope: Scope, experiment_id: str, missing: frozenset[str]) -> set[str]:
    """Place the experiment's ingests and pixels whose keys are `missing` anew, and have those of its jobs that have yet
    to start need the new ones, or those that another experiment has placed meanwhile; the queues to ring.
    """
    links = select(ExperimentJob.job_id).where(ExperimentJob.experiment_id == experiment_id)
    ours = session.scalars(select(Job).where(Job.id.in_(links), Job.kind.in_(OF_DATASETS)).order_by(Job.id)).all()
    placed = place(session, scope, _drafts(session, ours), missing=missing, experiment=experiment_id)
    replaced = {job.id: placed.ids[job.key] for job in ours if placed.ids[job.key] != job.id}
    if not replaced:
        return placed.queues
    lock(session, session.scalars(links).all())
    later = select(Job.id).where(Job.id.in_(links), Job.state.in_(_YET_TO_START))
    for old, new in replaced.items():
        session.execute(update(Need).where(Need.need_id == old, Need.job_id.in_(later)).values(need_id=new))
    for old, new in replaced.items():
        link = (ExperimentJob.experiment_id == experiment_id, ExperimentJob.job_id == old)
        session.execute(update(ExperimentJob).where(*link).values(job_id=new))
    return placed.queues


def _drafts(session: Session, jobs: Sequence[Job]) -> list[JobDraft]:
    """The jobs as they were asked for, what others need first."""
    needs: dict[str, list[str]] = {job.id: [] for job in jobs}
    query = select(Need.job_id, Job.key).join(Job, Job.id == Need.need_id).where(Need.job_id.in_(needs))
    for job_id, key in session.execute(query.order_by(Need.job_id, Job.id)):
        needs[job_id].append(key)
    first = sorted(jobs, key=lambda job: (job.kind != "ingest", job.id))
    return [
        JobDraft(
            kind=cast(JobKind, job.kind), spec=job.spec, needs=tuple(needs[job.id]), labels=job.labels, key=job.key
        )
        for job in first
    ]
