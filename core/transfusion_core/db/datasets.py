"""Datasets: immutable versions `name@n`, each with the ingest job that reads it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, select, update
from sqlalchemy.orm import Session

from transfusion_core.db import audit, removals
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.idempotency import Request, answered, remember
from transfusion_core.db.ids import new_id
from transfusion_core.db.moves import ENDED
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.placing import place
from transfusion_core.db.records import JobRow
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Dataset as Row
from transfusion_core.db.tables import Experiment, ExperimentJob, Job, Upload
from transfusion_core.db.wanted import deletable, delete_jobs
from transfusion_core.errors import Conflict, NotFound, NotReady
from transfusion_core.specs.dataset import UPLOAD, Dataset, DatasetSpec, FileFault, IngestResult
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.profile import profile_draft

_LARGEST_VERSION = 2**31 - 1


def register(
    scope: Scope,
    spec: DatasetSpec,
    draft: JobDraft,
    *,
    parent: JobDraft | None = None,
    verified_missing: frozenset[str] = frozenset(),
    idempotency: Request | None = None,
) -> tuple[Dataset, bool, list[str]]:
    """The version of this name that this ingest makes: the one there is (False), or a new one (True); queues to ring.

    It is looked at as well, once it is ingested. An ingest that failed is tried again; so is that of the `parent`.
    """

    def work(session: Session) -> tuple[Dataset, bool, list[str]]:
        done = answered(session, scope, idempotency)
        if done:
            return _find(session, scope, done.id), False, []
        drafts = [*([parent] if parent else []), draft, profile_draft(draft.key)]
        placed = place(session, scope, drafts, missing=verified_missing)
        _hold_upload(session, spec, placed.ids[draft.key], draft)
        named = select(Row).where(Row.project == scope.project, Row.name == spec.name)
        versions = session.scalars(named.order_by(Row.version)).all()
        same = [row for row in versions if row.job_id == placed.ids[draft.key]]
        row = (
            same[-1]
            if same
            else _add(session, scope, spec, _next_version(session, scope, spec.name, versions), placed.ids[draft.key])
        )
        dataset = _dataset(row, session.get_one(Job, row.job_id, populate_existing=True))
        remember(session, scope, idempotency, dataset.name)
        audit.add(session, scope, "dataset.register", dataset.name)
        return dataset, not same, sorted(placed.queues)

    return transact(scope.engine, work)


def _hold_upload(session: Session, spec: DatasetSpec, job_id: str, draft: JobDraft) -> None:
    """The upload that the dataset is made from stays until we commit, and after that since the ingest names it.

    An ingest of the same bytes that has not begun reads this one: that which it named may have gone.
    """
    location = spec.location or ""
    upload_id = location.removeprefix(UPLOAD)
    if upload_id == location:
        return
    if session.get(Upload, upload_id, with_for_update={"read": True}) is None:
        raise Conflict(f"upload {upload_id} has expired just now; upload the file again")
    begins = Job.state.in_(("waiting", "queued"))
    session.execute(update(Job).where(Job.id == job_id, begins).values(spec=draft.spec))


def _next_version(session: Session, scope: Scope, name: str, versions: Sequence[Row]) -> int:
    return 1 + max(removals.newest_version(session, scope, name), versions[-1].version if versions else 0)


def _add(session: Session, scope: Scope, spec: DatasetSpec, version: int, job_id: str) -> Row:
    resolved = spec.resolved().model_dump(mode="json")
    result = session.scalar(select(Job.result).where(Job.id == job_id))
    words = {"name": spec.name, "version": version, "spec": resolved, "job_id": job_id, "result": result}
    row = Row(id=new_id(), project=scope.project, **words)
    session.add(row)
    session.flush()
    return row


def add_demo(session: Session, scope: Scope, spec: DatasetSpec, job_id: str) -> None:
    """Register a demo dataset's first version within a transaction. Raises Conflict where the name was taken since."""
    first = find_row(session, scope, f"{spec.name}@1")
    if first is None:
        _add(session, scope, spec, 1, job_id)
    elif first.job_id != job_id:
        raise Conflict(f"another dataset was registered as {spec.name}@1 just now; send the spec again")


def remove(scope: Scope, name: str) -> str:
    """Forget the dataset version `name@n`, and what its ingest, profile and pixels made; the removal of their objects.

    Raises NotFound, and Conflict while it is read, or while an experiment or a comparison is made of it.
    """

    def work(session: Session) -> str:
        row = find_row(session, scope, name) if "@" in name else None
        if row is None:
            raise NotFound(f"there is no dataset {name!r}; a version is deleted by its whole name, 'name@1'")
        ingest = session.get_one(Job, row.job_id, with_for_update=True, populate_existing=True)
        jobs = [ingest, *session.scalars(_made_of(ingest).with_for_update())]
        _check_unused(session, scope, name, jobs)
        twins = session.scalars(select(Row.id).where(Row.job_id == ingest.id, Row.id != row.id)).all()
        session.delete(row)
        session.flush()
        freed = [] if twins else deletable(session, [job.id for job in jobs])
        if not twins and ingest.id not in freed:
            raise Conflict(f"dataset {name} is in use: comparisons are made of it, or versions that extend it")
        delete_jobs(session, freed)
        places = [*removals.places_of_jobs(freed), *_take_upload(session, ingest.spec.get("location") or "")]
        audit.add(session, scope, "dataset.delete", name)
        return removals.mark(session, "dataset", name, places, project=scope.project)

    return transact(scope.engine, work)


def _take_upload(session: Session, location: str) -> list[str]:
    """The place of the upload behind a location, where no other dataset is made from it: its row goes."""
    upload_id = location.removeprefix(UPLOAD)
    row = session.get(Upload, upload_id, with_for_update=True) if upload_id != location else None
    others = select(Job.id).where(Job.kind == "ingest", Job.spec["location"].as_string() == location).limit(1)
    if row is None or session.scalars(others).first() is not None:
        return []
    session.delete(row)
    return [row.key]


def _made_of(ingest: Job) -> Select[Job]:
    """Its profile, and its pixels at any size."""
    dataset = Job.spec["dataset"].as_string()
    return select(Job).where(Job.kind.in_(("profile", "pixels")), dataset == ingest.key).order_by(Job.id)


def _check_unused(session: Session, scope: Scope, name: str, jobs: Sequence[Job]) -> None:
    if busy := [job.kind for job in jobs if job.state not in ENDED]:
        raise Conflict(f"dataset {name} is being read ({', '.join(busy)}); delete it when that has ended")
    mine = select(ExperimentJob.experiment_id).join(Experiment, Experiment.id == ExperimentJob.experiment_id)
    links = mine.where(ExperimentJob.job_id.in_([job.id for job in jobs]), Experiment.project == scope.project)
    if users := session.scalars(links.distinct().order_by(ExperimentJob.experiment_id)).all():
        raise Conflict(f"dataset {name} is in use by experiments {', '.join(users[:10])}; delete them first")


def get(scope: Scope, name: str) -> Dataset:
    """The dataset `name@n`, or the newest version of `name`. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        return _find(session, scope, name)


def ingested(scope: Scope, name: str) -> IngestResult:
    """What the ingest of a dataset found. Raises NotFound, NotReady until it has ended, Conflict where it failed."""
    with unit_of_work(scope.engine, write=False) as session:
        row = find_row(session, scope, name)
        dataset = _find(session, scope, name)
        if row is not None and row.result:
            return IngestResult.model_validate(row.result)
    if dataset.state in ENDED:
        raise Conflict(f"dataset {dataset.name} has {dataset.state}: {dataset.error}")
    raise NotReady(f"dataset {dataset.name} is {dataset.state}; ask again in a moment")


def profile_job(scope: Scope, name: str) -> tuple[JobRow, list[str]]:
    """The job that looks at the dataset, placed where there was none yet; queues to ring.

    Raises NotFound, also where nobody has looked and whoever asks may start no work.
    """

    def work(session: Session) -> tuple[JobRow, list[str]]:
        dataset = _find(session, scope, name)
        draft = profile_draft(session.get_one(Job, dataset.job).key)
        query = select(Job).where(Job.key == draft.key, Job.shared)
        if job := session.scalars(query).one_or_none():
            return JobRow.of(job), []
        if scope.reads_only:
            told = f"nobody has looked at {dataset.name} yet; it is done when a key that may write asks for this"
            raise NotFound(told)
        placed = place(session, scope, [draft])
        return JobRow.of(session.scalars(query).one()), sorted(placed.queues)

    return transact(scope.engine, work)


def _find(session: Session, scope: Scope, name: str) -> Dataset:
    row = find_row(session, scope, name)
    if row is None:
        raise NotFound(f"there is no dataset {name!r}")
    return _dataset(row, session.get_one(Job, row.job_id))


def find_row(session: Session, scope: Scope, name: str) -> Row | None:
    """The project's row of `name@n`, or of the newest version of `name`."""
    words = named(name)
    return session.scalars(newest_named(), {"project": scope.project, **words}).one_or_none() if words else None


def named(name: str) -> dict[str, Any] | None:
    """What `newest_named` is asked for by `name@n` or `name`; None where the version can be none."""
    bare, _, version = name.partition("@")
    if not version:
        return {"name": bare, "oldest": 1, "newest": _LARGEST_VERSION}
    if not (version.isascii() and version.isdigit() and int(version) <= _LARGEST_VERSION):
        return None
    return {"name": bare, "oldest": int(version), "newest": int(version)}


@cache
def newest_named() -> Select[Row]:
    """The row of the newest version of a project's dataset between two."""
    ours = (Row.project == bindparam("project"), Row.name == bindparam("name"))
    versions = Row.version.between(bindparam("oldest"), bindparam("newest"))
    return select(Row).where(*ours, versions).order_by(Row.version.desc()).limit(1)


def page(
    scope: Scope, *, limit: int, cursor: str | None = None, name: str | None = None, state: str | None = None
) -> Page[Dataset]:
    """Dataset versions, newest first."""
    query: Select[Row, Job] = select(Row, Job).join(Job, Job.id == Row.job_id).where(Row.project == scope.project)
    if name is not None:
        query = query.where(Row.name == name)
    if state is not None:
        query = query.where(Job.state == state)
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Row.id, limit=limit, cursor=cursor)
        items = [_dataset(row, job) for row, job in rows]
        return Page(items, cursor_after(items[-1].id) if more else None)


def _dataset(row: Row, job: Job) -> Dataset:
    found = IngestResult.model_validate(row.result) if row.result else None
    faults = found.faults if found else [FileFault.model_validate(each) for each in (job.detail or {}).get("files", [])]
    return Dataset(
        id=row.id,
        name=f"{row.name}@{row.version}",
        parent=row.spec.get("extends"),
        state=job.state,
        digest=found.digest if found else None,
        images=found.images if found else None,
        task=found.task if found else row.spec["task"],
        classes=found.classes if found else [],
        splits=found.splits if found else {},
        across_splits=found.across_splits if found else {},
        faults=faults,
        spec=row.spec,
        job=job.id,
        created_at=rfc3339(row.created_at),
        reason=job.reason,
        error=job.error,
    )
