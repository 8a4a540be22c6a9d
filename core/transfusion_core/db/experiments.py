"""Experiments: created with all their jobs in one transaction, cancelled, resumed, retried, deleted."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from transfusion_core.db import audit, events, removals, standing
from transfusion_core.db.clock import clock
from transfusion_core.db.datasets import add_demo
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.idempotency import Request, answered, remember
from transfusion_core.db.ids import new_id
from transfusion_core.db.mending import replace_lost
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.placing import Unverified, place
from transfusion_core.db.records import Created, JobRow
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Experiment as Row
from transfusion_core.db.tables import ExperimentJob, Job, Need
from transfusion_core.db.together import transact_together
from transfusion_core.db.transitions import batches, lock, move, release_ready, revive
from transfusion_core.db.wanted import deletable, delete_jobs, parts_of, renew_report, unwanted
from transfusion_core.db.writing import write_later
from transfusion_core.errors import Conflict, NotFound
from transfusion_core.specs.expand import Expansion
from transfusion_core.specs.experiment import Experiment
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.job import JobKind

FEW = 1000
"""Jobs that are written in a moment: more are no company for others."""


def create(
    scope: Scope,
    expansion: Expansion,
    *,
    name: str,
    parent: str | None = None,
    verified_missing: frozenset[str] = frozenset(),
    lost_of: Callable[[Mapping[str, Any]], frozenset[str]] = lambda results: frozenset(),
    idempotency: Request | None = None,
) -> Created:
    """Write the experiment and its jobs, sharing those that exist by key, in one transaction.

    `verified_missing`: keys whose bytes the store has lost; they are done again. `lost_of` is asked, outside of any
    transaction, for more of them, among the results that would be shared. A repeated `idempotency` request answers what
    the first one made, with `is_new` False.
    """

    def work(session: Session, missing: frozenset[str], looked_for: frozenset[str]) -> Created | Unverified:
        done = answered(session, scope, idempotency)
        if done:
            return done
        experiment_id, spec = new_id(), expansion.spec
        try:
            placed = place(
                session,
                scope,
                expansion.drafts,
                cache=spec.cache,
                missing=missing,
                looked_for=looked_for,
                priority=spec.priority,
                experiment=experiment_id,
            )
        except Unverified as unverified:  # an answer: works of the same transaction go on
            return unverified
        for dataset in expansion.new_datasets:
            add_demo(session, scope, dataset, placed.ids[ingest_draft(dataset).key])
        words = {"id": experiment_id, "name": name, "parent": parent, "created_at": placed.now}
        row = {"project": scope.project, **words, **_of_spec(expansion)}
        write_later(session, Row, [row])
        linked = _link(session, experiment_id, expansion, placed.ids)
        _tell(session, experiment_id, "created")
        remember(session, scope, idempotency, experiment_id)
        audit.add(session, scope, "experiment.create", experiment_id)
        made = standing.of_new(session, Row(**row), [placed.states.get(job_id) for job_id in linked])
        return Created(experiment_id, sorted(placed.queues), made=made)

    run = transact_together if len(expansion.drafts) <= FEW else transact
    missing = looked_for = verified_missing
    while True:
        made = run(scope.engine, partial(work, missing=missing, looked_for=looked_for))
        if isinstance(made, Created):
            return made
        missing |= lost_of(made.results)
        looked_for |= made.results.keys()


def _of_spec(expansion: Expansion) -> dict[str, Any]:
    spec = expansion.spec
    return {"dataset": spec.dataset, "spec": spec.model_dump(mode="json"), "digest": expansion.digest}


def _link(session: Session, experiment_id: str, expansion: Expansion, ids: dict[str, str]) -> list[str]:
    """Say which jobs are the experiment's; their ids."""
    links = [
        {"experiment_id": experiment_id, "job_id": ids[draft.key], "ordinal": ordinal, "labels": draft.labels}
        for ordinal, draft in enumerate(expansion.drafts)
        if draft.key in ids  # parts of a comparison that is there have none
    ]
    write_later(session, ExperimentJob, links)
    return [str(link["job_id"]) for link in links]


def _tell(session: Session, experiment_id: str, kind: str) -> None:
    events.add(session, [{"experiment_id": experiment_id, "kind": kind, "data": {}}])


def get(scope: Scope, experiment_id: str) -> Experiment:
    """One experiment. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        return standing.experiments(session, [_find(session, scope, experiment_id)])[0]


def _find(session: Session, scope: Scope, experiment_id: str) -> Row:
    row = session.get(Row, experiment_id)
    if row is None or row.project != scope.project:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return row


def specs(scope: Scope, experiment_ids: Iterable[str]) -> dict[str, Any]:
    """The stored specs of those of the project's that exist, by id."""
    with unit_of_work(scope.engine, write=False) as session:
        query = select(Row.id, Row.spec).where(Row.project == scope.project, Row.id.in_([*experiment_ids]))
        rows = session.execute(query)
        return {row.id: row.spec for row in rows}


def page(
    scope: Scope,
    *,
    limit: int,
    cursor: str | None = None,
    state: str | None = None,
    name: str | None = None,
    dataset: str | None = None,
) -> Page[Experiment]:
    """The project's experiments, newest first; `dataset` is `name@n`, or a name for all its versions."""
    query = select(Row).where(Row.project == scope.project)
    if state is not None:
        query = query.where(Row.id.in_(standing.ids_in_state(scope, state)))
    if name is not None:
        query = query.where(Row.name == name)
    if dataset is not None:
        same = Row.dataset == dataset if "@" in dataset else Row.dataset.startswith(f"{dataset}@", autoescape=True)
        query = query.where(same)
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Row.id, limit=limit, cursor=cursor)
        items = standing.experiments(session, [row for (row,) in rows])
        return Page(items, cursor_after(items[-1].id) if more else None)


def jobs_of(scope: Scope, experiment_id: str) -> list[tuple[JobRow, dict[str, object]]]:
    """An experiment's jobs in the order of its grid, each with the words that the experiment calls it by."""
    query = (
        select(Job, ExperimentJob.labels)
        .join(ExperimentJob, ExperimentJob.job_id == Job.id)
        .where(ExperimentJob.experiment_id == experiment_id)
        .order_by(ExperimentJob.ordinal)
    )
    with unit_of_work(scope.engine, write=False) as session:
        _find(session, scope, experiment_id)
        return [(JobRow.of(job), labels) for job, labels in session.execute(query)]


def report_job(scope: Scope, experiment_id: str) -> JobRow:
    """The job that writes an experiment's report."""
    with unit_of_work(scope.engine, write=False) as session:
        _find(session, scope, experiment_id)
        return JobRow.of(_report(session, experiment_id))


def earlier_reports(scope: Scope, experiment_id: str) -> list[JobRow]:
    """The jobs that wrote its reports before runs were tried again, the newest first."""
    with unit_of_work(scope.engine, write=False) as session:
        _find(session, scope, experiment_id)
        return [JobRow.of(job) for job in _earlier(session, experiment_id)]


def _earlier(session: Session, experiment_id: str) -> list[Job]:
    needed = select(Need.need_id).where(Need.job_id == _report(session, experiment_id).id)
    query = select(Job).where(Job.id.in_(needed), Job.kind == "report").order_by(Job.finished_at.desc(), Job.id.desc())
    return list(session.scalars(query))


def _report(session: Session, experiment_id: str) -> Job:
    links = select(ExperimentJob.job_id).where(ExperimentJob.experiment_id == experiment_id)
    return session.scalars(select(Job).where(Job.id.in_(links), Job.kind == "report")).one()


def existing(engine: Engine, keys: Iterable[str]) -> frozenset[str]:
    """Those of the keys whose shared job is there and was neither failed nor cancelled."""
    with unit_of_work(engine, write=False) as session:
        return frozenset(
            key
            for batch in batches(keys)
            for key in session.scalars(
                select(Job.key).where(Job.key.in_(batch), Job.shared, Job.state.not_in(("failed", "cancelled")))
            )
        )


def cancel(scope: Scope, experiment_id: str) -> list[str]:
    """Stop what nobody else wants: what has not begun ends now, what runs is asked to; the queues to ring.

    Where a run has succeeded the report is still made, of what there is. Raises Conflict if ended.
    """

    def work(session: Session) -> list[str]:
        row = _held(session, scope, experiment_id)
        state = standing.state(session, row)
        if state not in ("queued", "running") or row.cancelled_at is not None:
            raise Conflict(f"experiment {experiment_id} is {'stopping' if row.cancelled_at else state} already")
        session.execute(update(Row).where(Row.id == experiment_id).values(cancelled_at=clock()))
        lock(session, _job_ids(session, experiment_id))
        kept = {_report(session, experiment_id).id} if _has_run(session, experiment_id) else set()
        for batch in batches(set(unwanted(session, experiment_id)) - kept):
            for from_state in ("waiting", "queued"):
                move(session, Job.id.in_(batch), from_state=from_state, to_state="cancelled")
            running = update(Job).where(Job.id.in_(batch), Job.state == "running")
            session.execute(running.values(cancel_requested=True))
        _tell(session, experiment_id, "cancelled")
        audit.add(session, scope, "experiment.cancel", experiment_id)
        return sorted(release_ready(session, kept))

    return transact(scope.engine, work)


def _has_run(session: Session, experiment_id: str) -> bool:
    """Whether one of its runs has succeeded."""
    runs = select(ExperimentJob.job_id).join(Job, Job.id == ExperimentJob.job_id)
    mine = runs.where(ExperimentJob.experiment_id == experiment_id, Job.kind == "train", Job.state == "succeeded")
    return session.scalar(select(mine.exists())) is True


def _held(session: Session, scope: Scope, experiment_id: str) -> Row:
    row = session.get(Row, experiment_id, with_for_update=True)
    if row is None or row.project != scope.project:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return row


def _job_ids(session: Session, experiment_id: str) -> list[str]:
    return list(session.scalars(select(ExperimentJob.job_id).where(ExperimentJob.experiment_id == experiment_id)))


def resume(scope: Scope, experiment_id: str) -> list[str]:
    """Go on with a cancelled experiment; the queues to ring. Raises Conflict unless it is cancelled."""
    return _again(scope, experiment_id, "cancelled", "resume")


def retry(scope: Scope, experiment_id: str, *, verified_missing: frozenset[str] = frozenset()) -> list[str]:
    """Try again what failed in a failed experiment; the queues to ring. Raises Conflict unless it has failed.

    `verified_missing`: keys of ingests and pixels whose bytes the store has lost; they are done again, first.
    """
    return _again(scope, experiment_id, "failed", "retry", missing=verified_missing)


def keys(scope: Scope, experiment_id: str) -> dict[str, JobKind]:
    """The keys of its jobs, and of what kind each is; none where there is no such experiment."""
    query = select(Job.key, Job.kind).join(ExperimentJob, ExperimentJob.job_id == Job.id)
    query = query.join(Row, Row.id == ExperimentJob.experiment_id)
    with unit_of_work(scope.engine, write=False) as session:
        rows = session.execute(query.where(Row.id == experiment_id, Row.project == scope.project))
        return {key: cast(JobKind, kind) for key, kind in rows}


_TOLD = {"resume": "resumed", "retry": "retried"}


def _again(
    scope: Scope, experiment_id: str, expected: str, verb: str, *, missing: frozenset[str] = frozenset()
) -> list[str]:
    def work(session: Session) -> list[str]:
        row = _held(session, scope, experiment_id)
        state = standing.state(session, row)
        if state != expected:
            raise Conflict(f"experiment {experiment_id} is {state}; it would have to be {expected} for that")
        session.execute(update(Row).where(Row.id == experiment_id).values(cancelled_at=None))
        renew_report(session, _report(session, experiment_id))
        _tell(session, experiment_id, _TOLD[verb])
        audit.add(session, scope, f"experiment.{verb}", experiment_id)
        queues = replace_lost(session, scope, experiment_id, missing) if missing else set()
        return sorted(queues | revive(session, _job_ids(session, experiment_id)))

    return transact(scope.engine, work)


def remove(scope: Scope, experiment_id: str) -> str:
    """Forget an ended experiment, and the jobs that nobody else uses; the removal of their objects.

    Raises Conflict while it is not ended.
    """

    def work(session: Session) -> str:
        row = _held(session, scope, experiment_id)
        state = standing.state(session, row)
        if state in ("queued", "running"):
            raise Conflict(f"experiment {experiment_id} is {state}; cancel it first")
        job_ids = [*_job_ids(session, experiment_id), *(job.id for job in _earlier(session, experiment_id))]
        job_ids += parts_of(session, job_ids)
        lock(session, job_ids)
        session.execute(delete(ExperimentJob).where(ExperimentJob.experiment_id == experiment_id))
        freed = deletable(session, job_ids)
        delete_jobs(session, freed)
        session.execute(delete(Row).where(Row.id == experiment_id))
        audit.add(session, scope, "experiment.delete", experiment_id)
        places = removals.places_of_jobs(freed)
        return removals.mark(session, "experiment", experiment_id, places, project=scope.project)

    return transact(scope.engine, work)
