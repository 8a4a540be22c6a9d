"""What a job says while it runs: the points of its curves, and its log."""

from collections.abc import Sequence

from sqlalchemy import Engine, and_, delete, insert, select
from sqlalchemy.orm import Session

from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.records import Point
from transfusion_core.db.tables import Job, LogLine
from transfusion_core.db.tables import Point as PointRow
from transfusion_core.errors import Fenced, NotFound

_LONGEST_TEXT = 20_000


def add_points(engine: Engine, job_id: str, attempt: int, points: Sequence[Point]) -> None:
    """Keep points of this attempt, in place of those of older attempts and of the same step. Raises Fenced."""
    rows = {
        (point.name, point.split, point.step): {
            "job_id": job_id,
            "attempt": attempt,
            "name": point.name,
            "split": point.split,
            "step": point.step,
            "value": point.value,
        }
        for point in points
    }
    with unit_of_work(engine) as session:
        _check_fence(session, job_id, attempt)
        session.execute(delete(PointRow).where(PointRow.job_id == job_id, PointRow.attempt < attempt))
        for name, split in sorted({(name, split) for name, split, _ in rows}):
            steps = [step for n, s, step in rows if (n, s) == (name, split)]
            same = and_(PointRow.name == name, PointRow.split == split, PointRow.step.in_(steps))
            session.execute(delete(PointRow).where(PointRow.job_id == job_id, same))
        if rows:
            session.execute(insert(PointRow), list(rows.values()))


def points(engine: Engine, job_id: str) -> list[Point]:
    """The current attempt's points, by name, split and step. Raises NotFound."""
    query = (
        select(PointRow)
        .join(Job, and_(Job.id == PointRow.job_id, Job.attempt == PointRow.attempt))
        .where(PointRow.job_id == job_id)
        .order_by(PointRow.name, PointRow.split, PointRow.step)
    )
    with unit_of_work(engine, write=False) as session:
        _check_exists(session, job_id)
        return [Point(row.step, row.name, row.split, row.value) for row in session.scalars(query)]


def add_log(engine: Engine, job_id: str, attempt: int, lines: Sequence[str]) -> None:
    """Keep lines of the job's log. Raises Fenced."""
    with unit_of_work(engine) as session:
        _check_fence(session, job_id, attempt)
        if lines:
            rows = [{"job_id": job_id, "attempt": attempt, "line": plain_text(line)} for line in lines]
            session.execute(insert(LogLine), rows)


def log(engine: Engine, job_id: str, *, limit: int = 5000) -> list[str]:
    """The last lines of the job's log, of all attempts, oldest first. Raises NotFound."""
    query = select(LogLine.line).where(LogLine.job_id == job_id).order_by(LogLine.id.desc()).limit(limit)
    with unit_of_work(engine, write=False) as session:
        _check_exists(session, job_id)
        return list(session.scalars(query))[::-1]


def plain_text(text: str) -> str:
    """Text that every database keeps: no NUL, no lone surrogates, not endless (the end is kept, it says most)."""
    clean = text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    return clean if len(clean) <= _LONGEST_TEXT else "… " + clean[-_LONGEST_TEXT:]


def _check_fence(session: Session, job_id: str, attempt: int) -> None:
    mine = and_(Job.id == job_id, Job.attempt == attempt, Job.state == "running")
    # Shared with other writers of this attempt; a sweeper waits until this transaction ends.
    if session.execute(select(Job.id).where(mine).with_for_update()).one_or_none() is None:
        raise Fenced


def _check_exists(session: Session, job_id: str) -> None:
    if session.get(Job, job_id) is None:
        raise NotFound(f"there is no job {job_id!r}")
