"""Who wants a job: what a cancelled or deleted experiment leaves behind that nobody else uses."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Select, delete, insert, select, union, update
from sqlalchemy.orm import Session

from transfusion_core.db import events
from transfusion_core.db.ids import new_id
from transfusion_core.db.moves import UNENDED
from transfusion_core.db.tables import Comparison, Dataset, Experiment, ExperimentJob, Job, Need
from transfusion_core.db.transitions import batches, lock, with_needs
from transfusion_core.specs.job import PARTS


def unwanted(session: Session, experiment_id: str) -> list[str]:
    """The experiment's unended jobs that no other live experiment, comparison or dataset needs, near or far."""
    mine = (
        _unended()
        .join(ExperimentJob, ExperimentJob.job_id == Job.id)
        .where(ExperimentJob.experiment_id == experiment_id)
    )
    of_experiments = (
        _unended()
        .join(ExperimentJob, ExperimentJob.job_id == Job.id)
        .join(Experiment, Experiment.id == ExperimentJob.experiment_id)
        .where(Experiment.id != experiment_id, Experiment.cancelled_at.is_(None))
    )
    of_comparisons = _unended().join(Comparison, Comparison.id == Job.id)
    of_datasets = _unended().join(Dataset, Dataset.job_id == Job.id)
    wanted = session.scalars(union(of_experiments, of_comparisons, of_datasets))
    return sorted(set(session.scalars(mine)) - with_needs(session, wanted))


def _unended() -> Select[str]:
    return select(Job.id).where(Job.state.in_(UNENDED))


def deletable(session: Session, job_ids: Iterable[str]) -> list[str]:
    """Those of these jobs that no experiment, comparison, dataset or other job points at, once the links are gone."""
    left = set(job_ids)
    for column in (ExperimentJob.job_id, Comparison.id, Dataset.job_id):
        for batch in batches(sorted(left)):
            left.difference_update(session.scalars(select(column).where(column.in_(batch))))
    while kept := _needed_by_others(session, left):
        left -= kept
    return sorted(left)


def parts_of(session: Session, job_ids: Sequence[str]) -> list[str]:
    """Jobs that do parts of these: an experiment that found them under way was never linked to them."""
    query = select(Need.need_id).join(Job, Job.id == Need.need_id).where(Job.kind.in_(PARTS)).distinct()
    found = (session.scalars(query.where(Need.job_id.in_(batch))) for batch in batches(job_ids))
    return sorted({part for parts in found for part in parts})


def delete_jobs(session: Session, job_ids: Sequence[str]) -> None:
    """Delete jobs that are `deletable`, with all that they said."""
    for batch in batches(job_ids):
        session.execute(delete(Need).where(Need.job_id.in_(batch)))
    for batch in batches(job_ids):
        session.execute(delete(Job).where(Job.id.in_(batch)))


def _needed_by_others(session: Session, job_ids: set[str]) -> set[str]:
    needs = (
        row
        for batch in batches(sorted(job_ids))
        for row in session.execute(select(Need.need_id, Need.job_id).where(Need.need_id.in_(batch)))
    )
    return {need_id for need_id, job_id in needs if job_id not in job_ids}


def renew_report(session: Session, report: Job) -> None:
    """A new report job in place of one that was written, or is about to be, without all of its runs.

    What was written stays: the new one needs it, with those before it, so that both can be read side by side.
    """
    lock(session, [report.id])
    session.refresh(report)
    if report.state not in ("queued", "running", "succeeded"):
        return
    needs = list(session.scalars(select(Need.need_id).where(Need.job_id == report.id)))
    kept = {"key", "kind", "queue", "spec", "labels", "turn", "share", "owner", "needs_success", "shared"}
    copied = {name: getattr(report, name) for name in kept}
    report_id = new_id()
    session.execute(update(Job).where(Job.id == report.id).values(shared=False))
    session.execute(insert(Job), [{**copied, "id": report_id, "state": "waiting"}])
    session.execute(insert(Need), [{"job_id": report_id, "need_id": need} for need in needs])
    data = {"from": None, "to": "waiting", "attempt": 0, "kind": report.kind}
    events.add(session, [{"job_id": report_id, "kind": "state", "data": data}])
    session.execute(update(ExperimentJob).where(ExperimentJob.job_id == report.id).values(job_id=report_id))
    if report.state == "succeeded":
        session.execute(insert(Need), [{"job_id": report_id, "need_id": report.id}])
    else:
        session.execute(delete(Job).where(Job.id == report.id))
