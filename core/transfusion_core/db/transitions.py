"""How jobs change state: one function makes every move, and what ends settles those that need it.

Rows are locked in id order, reports last, so that two transactions seldom wait for each other in a circle.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Executable, Select, and_, bindparam, exists, literal, or_, select, update
from sqlalchemy.orm import Session, aliased

from transfusion_core.db import events, sharing
from transfusion_core.db.clock import Elapsed, clock
from transfusion_core.db.moves import ENDED, check_move
from transfusion_core.db.tables import Job, Need
from transfusion_core.specs.job import State

T = TypeVar("T")
_FEW = 8
"""Jobs that wait for one that ended, which are looked at one by one."""
_BATCH = 5000
"""Names in one IN list; databases limit the parameters of a statement."""


@dataclass(frozen=True)
class Moved:
    """A job that changed its state."""

    id: str
    kind: str
    queue: str
    attempt: int


def batches(items: Iterable[T]) -> Iterator[list[T]]:
    """The items in lists short enough for one statement."""
    whole = list(items)
    return (whole[start : start + _BATCH] for start in range(0, len(whole), _BATCH))


def move(
    session: Session, where: ColumnElement[bool], *, from_state: State, to_state: State, **values: Any
) -> list[Moved]:
    """Move the jobs of `where` that are in `from_state`, with an event each; those that are not stay as they are."""
    check_move(from_state, to_state)
    worked = {"busy_seconds": Job.busy_seconds + Elapsed(Job.started_at)} if from_state == "running" else {}
    statement = (
        update(Job)
        .where(Job.state == from_state, where)
        .values(state=to_state, **_stamps(to_state) | worked | values)
        .returning(Job.id, Job.kind, Job.queue, Job.attempt)
    )
    session.flush()
    moved = [Moved(*row) for row in session.connection().execute(statement)]
    reason = {"reason": values["reason"]} if values.get("reason") else {}
    events.add(session, (_event(job, from_state, to_state, reason) for job in moved))
    return moved


def _stamps(to_state: State) -> dict[str, Any]:
    if to_state == "running":
        return {"started_at": clock(), "reason": None, "error": None, "detail": None}
    since = {"not_before": clock()} if to_state == "queued" else {}
    return {"finished_at": clock() if to_state in ENDED else None, "lease_until": None, **since}


def _event(job: Moved, from_state: State, to_state: State, reason: dict[str, Any]) -> dict[str, Any]:
    data = {"from": from_state, "to": to_state, "attempt": job.attempt, "kind": job.kind, **reason}
    return {"job_id": job.id, "kind": "state", "data": data}


def lock(session: Session, job_ids: Iterable[str]) -> None:
    """Hold these jobs' rows until the transaction ends."""
    for batch in batches(sorted(job_ids)):
        session.execute(select(Job.id).where(Job.id.in_(batch)).order_by(Job.id).with_for_update())


def settle(session: Session, ended: Sequence[str], state: State) -> set[str]:
    """Release, fail or cancel those that need the jobs that just ended in `state`; the queues to ring."""
    leaves: set[str] = set()
    level: Sequence[str] = ended
    while level:
        strict, lenient = _dependants(session, level)
        leaves |= lenient if state != "succeeded" else strict | lenient
        level = [] if state == "succeeded" else _end_waiting(session, strict, state)
    ready = {leaf for leaf in leaves if not _is_surely_held_up(session, leaf)} if len(leaves) <= _FEW else leaves
    lock(session, ready)
    return release_ready(session, ready)


def _dependants(session: Session, needed: Sequence[str]) -> tuple[set[str], set[str]]:
    """Waiting jobs that need these: those that need success, and those that need an end only."""
    strict: set[str] = set()
    lenient: set[str] = set()
    for batch in batches(needed):
        for job_id, needs_success in session.execute(_waiting_for(), {"needed": batch}):
            (strict if needs_success else lenient).add(job_id)
    return strict, lenient


@cache
def _waiting_for() -> Executable:
    return (
        select(Job.id, Job.needs_success)
        .join(Need, Need.job_id == Job.id)
        .where(Need.need_id.in_(bindparam("needed", expanding=True)), Job.state == "waiting")
    )


def _is_surely_held_up(session: Session, leaf: str) -> bool:
    """Whether something that this job needs has not even begun: then whoever ends that looks again.

    A report waits for thousands, which would each lock it, one after the other, and look through all of the others.
    The shared lock has whoever would be the last wait for us, and see our end, before it finds the leaf held up by us.
    """
    if session.scalar(_not_begun(), {"leaf": leaf}) is None:
        return False
    session.execute(_shared_lock(), {"leaf": leaf})
    return session.scalar(_not_begun(), {"leaf": leaf}) is not None


@cache
def _shared_lock() -> Executable:
    return select(Job.id).where(Job.id == bindparam("leaf")).with_for_update(read=True)


@cache
def _not_begun() -> Select[str]:
    """The last of them, as those before it have mostly ended."""
    needed = select(Need.need_id).join(Job, Job.id == Need.need_id)
    begun_not = needed.where(Need.job_id == bindparam("leaf"), Job.state.in_(("waiting", "queued")))
    return begun_not.order_by(Need.need_id.desc()).limit(1)


def _end_waiting(session: Session, job_ids: set[str], state: State) -> list[str]:
    lock(session, job_ids)
    why = {"reason": "needs_failed", "error": "A job that this one needs has failed."} if state == "failed" else {}
    return [
        job.id
        for batch in batches(sorted(job_ids))
        for job in move(session, Job.id.in_(batch), from_state="waiting", to_state=state, **why)
    ]


def release_ready(session: Session, job_ids: Iterable[str]) -> set[str]:
    """Queue those of these waiting jobs whose needs have all ended (well, where success is needed)."""
    return {job.queue for job in released(session, job_ids)}


def released(session: Session, job_ids: Iterable[str]) -> list[Moved]:
    """As `release_ready`: those that were queued."""
    done: list[Moved] = []
    waiting = sorted(job_ids)
    present = sharing.present(session) if waiting else 0.0
    for batch in batches(waiting):
        ready = and_(Job.id.in_(batch), ~_is_held_up())
        moved = move(session, ready, from_state="waiting", to_state="queued")
        sharing.catch_up(session, [job.id for job in moved], present)
        done += moved
    return done


def _is_held_up() -> ColumnElement[bool]:
    needed = aliased(Job)
    unmet = or_(and_(Job.needs_success, needed.state != "succeeded"), needed.state.not_in(ENDED))
    return exists(select(literal(1)).where(Need.job_id == Job.id, needed.id == Need.need_id, unmet).correlate(Job))


def revive(session: Session, job_ids: Iterable[str]) -> set[str]:
    """Bring failed and cancelled jobs back to waiting, with those that they need, and queue what is ready."""
    wanted = with_needs(session, job_ids)
    lock(session, wanted)
    fresh = {"reason": None, "error": None, "detail": None, "crashes": 0, "not_before": None, "progress": None}
    again: set[str] = set()
    states: tuple[State, State] = ("failed", "cancelled")
    for batch in batches(sorted(wanted)):
        for state in states:
            moved = move(
                session, Job.id.in_(batch), from_state=state, to_state="waiting", cancel_requested=False, **fresh
            )
            again.update(job.id for job in moved)
    return release_ready(session, again)


def with_needs(session: Session, job_ids: Iterable[str]) -> set[str]:
    """These jobs and all that they need, near and far."""
    found = set(job_ids)
    level = set(found)
    while level:
        rows = [
            need
            for batch in batches(sorted(level))
            for need in session.scalars(select(Need.need_id).where(Need.job_id.in_(batch)))
        ]
        level = set(rows) - found
        found |= level
    return found
