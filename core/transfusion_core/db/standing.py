"""How an experiment stands: its state, counts, progress and time to go, worked out from its jobs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Executable, Select, and_, bindparam, case, func, select
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock, rfc3339
from transfusion_core.db.moves import ENDED, STATES, UNENDED
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Event, ExperimentJob, Job
from transfusion_core.db.tables import Experiment as Row
from transfusion_core.db.writing import write_waiting
from transfusion_core.specs.experiment import Experiment
from transfusion_core.specs.job import OF_DATASETS


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def state_of(cancelled_at: Any) -> ColumnElement[str]:
    """SQL over a group of an experiment's jobs: its state."""
    unended = _number(Job.state.in_(UNENDED)) > 0
    stopping = _number(and_(Job.state == "running", Job.cancel_requested)) > 0
    begun = _number(and_(Job.state.in_(("succeeded", "failed")), Job.kind.not_in(OF_DATASETS))) > 0
    return case(
        (and_(cancelled_at.is_not(None), stopping), "running"),
        (cancelled_at.is_not(None), "cancelled"),
        (and_(~unended, _number(Job.state == "failed") > 0), "failed"),
        (and_(~unended, _number(Job.state == "cancelled") > 0), "cancelled"),
        (~unended, "succeeded"),
        (_number(Job.state == "running") > 0, "running"),
        (begun, "running"),
        else_="queued",
    )


def ids_in_state(scope: Scope, state: str) -> Select[str]:
    """The ids of the project's experiments in a state."""
    return (
        select(ExperimentJob.experiment_id)
        .join(Job, Job.id == ExperimentJob.job_id)
        .join(Row, Row.id == ExperimentJob.experiment_id)
        .where(Row.project == scope.project)
        .group_by(ExperimentJob.experiment_id, Row.cancelled_at)
        .having(state_of(Row.cancelled_at) == state)
    )


@dataclass(frozen=True)
class _Standing:
    state: str
    counts: dict[str, int]
    done_before: int
    """Jobs that had ended before the experiment began: shared work."""
    partly: float
    """Sum of the running jobs' progress, each 0..1."""
    finished_at: datetime | None


def experiments(session: Session, rows: Sequence[Row]) -> list[Experiment]:
    """The records of these rows."""
    if not rows:
        return []
    standings = _standings(session, [row.id for row in rows])
    # What only those that run need is asked for them alone.
    running = [row_id for row_id, standing in standings.items() if standing.state == "running"]
    now = session.scalar(select(clock())) if running else None
    return [_experiment(row, standings[row.id], now) for row in rows]


def of_new(session: Session, row: Row, states: Sequence[str | None]) -> Experiment:
    """The record of an experiment that was just made, whose jobs are in these states, None where that is not known."""
    counts = {name: states.count(name) for name in ("waiting", "queued")}
    if sum(counts.values()) != len(states):
        write_waiting(session, but=Event)
        return experiments(session, [row])[0]
    begun = {name: count for name, count in counts.items() if count}
    return _experiment(row, _Standing("queued", begun, done_before=0, partly=0.0, finished_at=None), None)


def state(session: Session, row: Row) -> str:
    """The experiment's state alone."""
    return _standings(session, [row.id])[row.id].state


def _standings(session: Session, ids: Sequence[str]) -> dict[str, _Standing]:
    rows = session.connection().execute(_query(), {"ids": ids}).all()
    counts = {row[0]: {str(name): n for name, n in zip(STATES, row[4:], strict=True) if n} for row in rows}
    running = [row_id for row_id, by_state in counts.items() if by_state.get("running")]
    partly = _partly_done(session, running) if running else {}
    return {
        row_id: _Standing(
            state=state,
            counts=counts[row_id],
            done_before=done_before,
            partly=partly.get(row_id, 0.0),
            finished_at=finished_at if state in ENDED else None,
        )
        for row_id, state, done_before, finished_at, *_ in rows
    }


@cache
def _query() -> Executable:
    """Made once: putting it together takes longer than what it asks for."""
    by_state = [_number(Job.state == state) for state in STATES]
    before = _number(and_(Job.state.in_(ENDED), Job.finished_at < Row.created_at))
    # None of its jobs need have ended where it was cancelled: others may want them all.
    ended_at = func.coalesce(func.max(Job.finished_at), Row.cancelled_at)
    return (
        select(Row.id, state_of(Row.cancelled_at), before, ended_at, *by_state)
        .join(ExperimentJob, ExperimentJob.experiment_id == Row.id)
        .join(Job, Job.id == ExperimentJob.job_id)
        .where(Row.id.in_(bindparam("ids", expanding=True)))
        .group_by(Row.id, Row.cancelled_at)
    )


def _partly_done(session: Session, ids: Sequence[str]) -> dict[str, float]:
    query = (
        select(ExperimentJob.experiment_id, Job.progress)
        .join(Job, Job.id == ExperimentJob.job_id)
        .where(ExperimentJob.experiment_id.in_(ids), Job.state == "running")
    )
    sums: dict[str, float] = {}
    for experiment_id, progress in session.execute(query):
        sums[experiment_id] = sums.get(experiment_id, 0.0) + fraction(progress)
    return sums


def fraction(progress: dict[str, Any] | None) -> float:
    """How far a running job is, 0..1, by `step` of `steps`; 0 where it does not say."""
    step, steps = (progress or {}).get("step"), (progress or {}).get("steps")
    if not isinstance(step, int | float) or not isinstance(steps, int | float) or steps <= 0:
        return 0.0
    return min(1.0, max(0.0, step / steps))


def _experiment(row: Row, standing: _Standing, now: datetime | None) -> Experiment:
    total = sum(standing.counts.values())
    ended = sum(standing.counts.get(state, 0) for state in ENDED)
    return Experiment(
        id=row.id,
        name=row.name,
        state=standing.state,
        spec=row.spec,
        digest=row.digest,
        counts=standing.counts,
        progress=round((ended + standing.partly) / total, 4),
        eta_seconds=_eta_seconds(row, standing, total, ended, now),
        created_at=rfc3339(row.created_at),
        finished_at=rfc3339(standing.finished_at) if standing.finished_at else None,
        parent=row.parent,
    )


def _eta_seconds(row: Row, standing: _Standing, total: int, ended: int, now: datetime | None) -> float | None:
    """Time to go if the rest goes as fast as what was done since the experiment began; rough."""
    done = ended - standing.done_before + standing.partly
    if now is None or standing.state != "running" or done <= 0:
        return None
    left = total - ended - standing.partly
    return round((now - row.created_at).total_seconds() * left / done, 1)
