"""Fair shares: whose job goes next among those of one priority.

Each job stands at a place in a virtual time, `share`, in seconds of estimated work: the jobs of an experiment stand one
after the other, from where the queue is when it is posted. So a large experiment leaves room for whatever comes later
(start-time fair queueing; Goyal, Vin and Cheng 1996, with the place of the next job for the virtual time). Where a
project has n experiments under way, those of the n-th stand n times as far apart: many small experiments win little.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock
from transfusion_core.db.moves import UNENDED
from transfusion_core.db.tables import ApiKey, Job
from transfusion_core.specs.job import JobDraft

MOST_APART = 100
"""More experiments of a project than this change nothing more; counting them takes time."""
_BATCH = 5000


def present(session: Session) -> float:
    """Where the queue is: the share of the next job, of those at work where none waits, 0 where nothing is done."""
    return session.connection().execute(_present()).scalar_one()


class Outlook(NamedTuple):
    """What another experiment of a project finds."""

    present: float
    apart: int
    """How far apart its jobs stand: one more than the project has experiments under way."""
    now: datetime
    """By the database's clock."""


@cache
def _present() -> Select[float]:
    return select(_place())


def outlook() -> Select[float, int, datetime]:
    """What another experiment of `project`, asked for by `actor`, finds: an `Outlook`."""
    return select(_place().label("present"), (_under_way() + 1).label("apart"), clock().label("now"))


def _place() -> ColumnElement[float]:
    # The state is written into the statement: a partial index is not used for a bound parameter.
    queued = select(Job.share).where(Job.state == literal_column("'queued'")).order_by(Job.turn, Job.share).limit(1)
    last = select(func.max(Job.share)).where(Job.state == "running")
    return func.coalesce(queued.scalar_subquery(), last.scalar_subquery(), 0.0)


def _under_way() -> ColumnElement[int]:
    """By the reports that the project's keys were the first to ask for: the same work under another name adds none."""
    keys = select(ApiKey.id).where(ApiKey.project == bindparam("project"))
    ours = or_(Job.owner == bindparam("actor"), Job.owner.in_(keys))
    unended = select(Job.id).where(Job.kind == "report", Job.state.in_(UNENDED), ours).limit(MOST_APART - 1)
    return select(func.count()).select_from(unended.subquery()).scalar_subquery()


def shares(drafts: Sequence[JobDraft], costs: Iterable[bool], start: float, step: int) -> Iterator[float]:
    """The share of each draft; those that cost nothing, as they are there already, take no room."""
    for draft, does_cost in zip(drafts, costs, strict=True):
        yield start
        start += step * draft.seconds if does_cost else 0.0


def catch_up(session: Session, job_ids: Sequence[str], place: float) -> None:
    """Bring jobs that can start only now to `place`, if they stand before it: who waited for needs saves up nothing."""
    for start in range(0, len(job_ids), _BATCH):
        these = Job.id.in_(job_ids[start : start + _BATCH])
        first = session.scalar(select(func.min(Job.share)).where(these))
        if first is not None and first < place:
            moved = update(Job).where(these).values(share=Job.share + (place - first))
            session.execute(moved.execution_options(synchronize_session=False))
