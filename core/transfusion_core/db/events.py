"""Events: what happened to jobs and experiments, written in the transaction in which it happened."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, func, or_, select, text
from sqlalchemy.orm import Session

from transfusion_core.db.engine import EVENTS_LOCK, unit_of_work
from transfusion_core.db.tables import Event as Row
from transfusion_core.db.tables import ExperimentJob
from transfusion_core.db.writing import write_later

_LARGEST_ID = 2**63 - 1
_MOST_NEWS = 1000


@dataclass(frozen=True)
class Event:
    """Something that happened. `kind` is `state` for a job's move; then data holds `from`, `to`, `attempt`."""

    id: int
    at: datetime
    experiment_id: str | None
    job_id: str | None
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True)
class News:
    """What was written since somebody last asked."""

    last_id: int
    """Of the latest event."""
    about: frozenset[str] | None
    """Ids of the experiments and jobs that it is about; None where it may be about any, since so much came."""


def add(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Events (`kind`, `data`, and `job_id` or `experiment_id`) to be written when this transaction commits."""
    empty = {"job_id": None, "experiment_id": None}
    write_later(session, Row, ({**empty, **row} for row in rows))


def after(
    engine: Engine,
    *,
    experiment_id: str | None = None,
    job_id: str | None = None,
    last_id: int = 0,
    limit: int = 500,
) -> list[Event]:
    """Events later than `last_id`, oldest first; of an experiment with those of its jobs. None is ever passed over."""
    query = (
        select(Row)
        .where(Row.id > min(last_id, _LARGEST_ID), *_about(experiment_id, job_id))
        .order_by(Row.id)
        .limit(limit)
    )
    with unit_of_work(engine, write=False) as session:
        found = session.scalars(query.limit(1)).all()
        if found:
            _await_writers(session)
        rows = session.scalars(query).all() if found else []
        return [Event(row.id, row.at, row.experiment_id, row.job_id, row.kind, row.data) for row in rows]


def news(engine: Engine, last_id: int | None) -> News:
    """What was written after an event; without one, where the end is. None is ever passed over."""
    newest = select(func.coalesce(func.max(Row.id), 0))
    with unit_of_work(engine, write=False) as session:
        latest = session.scalars(newest).one()
        if latest == last_id:
            return News(latest, frozenset())
        _await_writers(session)
        latest = session.scalars(newest).one()
        if last_id is None:
            return News(latest, frozenset())
        told = select(Row.job_id, Row.experiment_id).where(Row.id > last_id, Row.id <= latest).distinct()
        rows = session.execute(told.limit(_MOST_NEWS)).all()
        if len(rows) == _MOST_NEWS:
            return News(latest, None)
        ids = {found for row in rows for found in row if found}
        wanting = select(ExperimentJob.experiment_id).where(ExperimentJob.job_id.in_(ids)).distinct()
        return News(latest, frozenset(ids.union(session.scalars(wanting))))


def _await_writers(session: Session) -> None:
    # Ids are given before commit: without this wait a later id could be seen before an earlier one.
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SELECT pg_advisory_xact_lock({EVENTS_LOCK})"))


def _about(experiment_id: str | None, job_id: str | None) -> list[ColumnElement[bool]]:
    if job_id is not None:
        return [Row.job_id == job_id]
    if experiment_id is None:
        return []
    jobs = select(ExperimentJob.job_id).where(ExperimentJob.experiment_id == experiment_id)
    return [or_(Row.experiment_id == experiment_id, Row.job_id.in_(jobs))]
