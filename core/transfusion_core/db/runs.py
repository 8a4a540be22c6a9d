"""Runs: train jobs as a project sees them, in the words of the experiment of its own that asked."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from transfusion_core.db.clock import rfc3339
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.scope import Scope, is_first_link
from transfusion_core.db.tables import Experiment, ExperimentJob, Job
from transfusion_core.errors import NotFound
from transfusion_core.specs.experiment import Run


class Link(NamedTuple):
    """An experiment by its id and name."""

    id: str
    name: str


def get(scope: Scope, run_id: str) -> Run:
    """One run. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        return _run(*_found(session, scope, run_id))


def result(scope: Scope, run_id: str) -> dict[str, Any]:
    """What a run has left behind, with its objects in the store; empty until it has succeeded. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        return _found(session, scope, run_id)[0].result or {}


def first_experiment(scope: Scope, run_id: str) -> Link:
    """The experiment of the project that first asked for a run. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        query = select(Experiment.id, Experiment.name).join(ExperimentJob, ExperimentJob.experiment_id == Experiment.id)
        query = query.join(Job, is_first_link(scope)).where(Job.id == run_id)
        found = session.execute(query).one_or_none()
        if found is None:
            raise NotFound(f"there is no run {run_id!r}")
        return Link(*found)


def labels(scope: Scope, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The words of those of these runs that the project has, by id."""
    with unit_of_work(scope.engine, write=False) as session:
        query = select(Job.id, ExperimentJob.labels).join(ExperimentJob, is_first_link(scope))
        found = session.execute(query.where(Job.id.in_(set(run_ids)), Job.kind == "train"))
        return {row.id: row.labels for row in found}


def _found(session: Session, scope: Scope, run_id: str) -> tuple[Job, dict[str, Any]]:
    query = select(Job, ExperimentJob.labels).join(ExperimentJob, is_first_link(scope))
    found = session.execute(query.where(Job.id == run_id, Job.kind == "train")).one_or_none()
    if found is None:
        raise NotFound(f"there is no run {run_id!r}")
    job, labels = found
    return job, labels


def page(
    scope: Scope,
    *,
    limit: int,
    cursor: str | None = None,
    experiment: str | None = None,
    state: str | None = None,
    model: str | None = None,
    init: str | None = None,
    dataset: str | None = None,
) -> Page[Run]:
    """Runs, newest first, in the words of `experiment` where one is given; without manifests and weight reports."""
    labels = ExperimentJob.labels
    query: Select[Any] = select(Job, labels).where(Job.kind == "train")
    if experiment is None:
        query = query.join(ExperimentJob, is_first_link(scope))
    else:
        query = query.join(ExperimentJob, ExperimentJob.job_id == Job.id)
        query = query.join(Experiment, Experiment.id == ExperimentJob.experiment_id)
        query = query.where(Experiment.id == experiment, Experiment.project == scope.project)
    if state is not None:
        query = query.where(Job.state == state)
    for word, wanted in (("model", model), ("init", init)):
        if wanted is not None:
            query = query.where(labels[word].as_string() == wanted)
    if dataset is not None:
        name = labels["dataset"].as_string()
        query = query.where(name == dataset if "@" in dataset else name.startswith(f"{dataset}@", autoescape=True))
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Job.id, limit=limit, cursor=cursor)
        items = [_short(_run(job, words)) for job, words in rows]
        return Page(items, cursor_after(items[-1].id) if more else None)


def _short(run: Run) -> Run:
    return run.model_copy(update={"manifest": None, "weight_report": None})


def _run(job: Job, labels: dict[str, Any]) -> Run:
    result = job.result or {}
    return Run(
        id=job.id,
        key=job.key,
        **{word: labels[word] for word in ("model", "init", "source", "train_size", "seed", "dataset")},
        lr=labels.get("lr"),
        state=job.state,
        attempt=job.attempt,
        reason=job.reason,
        error=job.error or result.get("diverged"),
        progress=job.progress or {},
        metrics=result.get("metrics", {}).get("test"),
        weight_report=result.get("weight_report"),
        manifest=result.get("manifest"),
        checkpoints=result.get("checkpoints", []),
        created_at=rfc3339(job.created_at),
        finished_at=rfc3339(job.finished_at) if job.finished_at else None,
    )
