"""Events: what happened to jobs and experiments, written in the transaction in which it happened."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, or_, select, text
from sqlalchemy.orm import Session

from transfusion_core.db.engine import EVENTS, EVENTS_LOCK, unit_of_work
from transfusion_core.db.tables import Event as Row
from transfusion_core.db.tables import ExperimentJob

_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class Event:
    """Something that happened. `kind` is `state` for a job's move; then data holds `from`, `to`, `attempt`."""

    id: int
    at: datetime
    experiment_id: str | None
    job_id: str | None
    kind: str
    data: dict[str, Any]


def add(session: Session, rows: Iterable[dict[str, Any]]) -> None:
    """Events (`kind`, `data`, and `job_id` or `experiment_id`) to be written when this transaction commits."""
    empty = {"job_id": None, "experiment_id": None}
    session.info.setdefault(EVENTS, []).extend({**empty, **row} for row in rows)


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
        if found and session.get_bind().dialect.name == "postgresql":
            # Ids are given before commit: without this wait a later id could be seen before an earlier one.
            session.execute(text(f"SELECT pg_advisory_xact_lock({EVENTS_LOCK})"))
        rows = session.scalars(query).all() if found else []
        return [Event(row.id, row.at, row.experiment_id, row.job_id, row.kind, row.data) for row in rows]


def _about(experiment_id: str | None, job_id: str | None) -> list[ColumnElement[bool]]:
    if job_id is not None:
        return [Row.job_id == job_id]
    if experiment_id is None:
        return []
    jobs = select(ExperimentJob.job_id).where(ExperimentJob.experiment_id == experiment_id)
    return [or_(Row.experiment_id == experiment_id, Row.job_id.in_(jobs))]
