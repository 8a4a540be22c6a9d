"""From drafts to rows: links the jobs that exist by key, inserts those that do not, revives those that failed."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, Literal

from sqlalchemy import BindParameter, Select, bindparam, delete, insert, select, true, update
from sqlalchemy.orm import Session

from transfusion_core.db import events, quotas, sharing
from transfusion_core.db.ids import new_ids
from transfusion_core.db.moves import UNENDED
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Dataset, Job, Need
from transfusion_core.db.transitions import batches, lock, released, revive
from transfusion_core.db.writing import write_rows
from transfusion_core.errors import Conflict, NotAllowed
from transfusion_core.specs.job import OF_DATASETS, PARTS, QUEUES, JobDraft, Origin, without_idle_parts
from transfusion_core.specs.removal import object_digests

Cache = Literal["use", "refresh", "off"]


@dataclass
class Placed:
    """Where drafts came to lie."""

    now: datetime
    """When, by the database's clock."""
    ids: dict[str, str] = field(default_factory=dict)
    """Key to job id, of every draft and of what they need."""
    queues: set[str] = field(default_factory=set)
    states: dict[str, str] = field(default_factory=dict)
    """Job id to state, as they are now; none where jobs were brought back, with any that they need."""


class Unverified(Exception):
    """Jobs have succeeded whose objects nobody has looked for: their results, by key. Nothing was written."""

    def __init__(self, results: dict[str, Any]) -> None:
        super().__init__(f"the objects of {len(results)} jobs were not looked for")
        self.results = results


@dataclass(frozen=True)
class _Existing:
    id: str
    key: str
    kind: str
    state: str
    result: dict[str, Any] | None
    priority: int
    share: float

    @property
    def is_complete(self) -> bool:
        return (self.result or {}).get("complete") is not False


def place(
    session: Session,
    scope: Scope,
    drafts: Sequence[JobDraft],
    *,
    cache: Cache = "use",
    missing: frozenset[str] = frozenset(),
    looked_for: frozenset[str] | None = None,
    priority: int = 0,
    experiment: str | None = None,
) -> Placed:
    """Give every draft its row, needs first. Keys in `missing` have lost their bytes and are done again; Unverified is
    raised where the bytes of others would have to be there, unless they are in `looked_for`, or that is None.

    Parts of a job are given rows only with the job itself: one that is there keeps the parts that it has, or none, and
    one that is done again has them done again.

    What is new is on the account of whoever asks; raises QuotaExceeded where that is used up. Ingests and pixels are
    shared under every `cache`: a dataset version is immutable, read again only if it is lost.
    """
    outlook, existing = _found(session, scope, drafts)
    if looked_for is not None:
        _check_looked_for(drafts, existing, cache, looked_for)
    placed = Placed(outlook.now)
    drafts, missing = _with_parts(session, drafts, existing, cache, missing)
    placed.ids = {key: row.id for key, row in existing.items()}
    new: list[JobDraft] = []
    stale: list[_Existing] = []
    revived: list[_Existing] = []
    fresh: set[str] = set()
    for draft in drafts:
        row = existing.get(draft.key)
        if row is None or _is_replaced(draft, row, cache, missing, fresh):
            new.append(draft)
            fresh.add(draft.key)
            stale.extend([row] if row and _is_shared(draft, cache, missing) else [])
        elif row.state in ("failed", "cancelled"):
            revived.append(row)
            fresh.add(draft.key)
    _check_needs(drafts, existing)
    if new or revived:
        _check_account(session, scope)
    _unshare(session, stale)
    shares = _shares(outlook, drafts, existing, fresh)
    origin = Origin(request=scope.request_id, experiment=experiment, traceparent=scope.traceparent)
    common = {"owner": scope.actor, "origin": origin.model_dump(mode="json"), "turn": -priority}
    rows = [_row(draft, is_shared=_is_shared(draft, cache, missing)) for draft in new]
    _insert(session, new, [{**row, **common, "share": shares[str(row["key"])]} for row in rows], placed)
    _follow_datasets(session, stale, placed)
    _rewire(session, drafts, existing, placed, fresh)
    _want_again(session, [row for row in existing.values() if placed.ids[row.key] == row.id], priority, shares)
    placed.queues |= revive(session, [row.id for row in revived])
    made = [placed.ids[draft.key] for draft in new]
    queued = released(session, made)
    placed.queues |= {job.queue for job in queued}
    if not revived:
        placed.states = {row.id: row.state for row in existing.values()} | dict.fromkeys(made, "waiting")
        placed.states |= {job.id: "queued" for job in queued}
    return placed


def _found(session: Session, scope: Scope, drafts: Sequence[JobDraft]) -> tuple[sharing.Outlook, dict[str, _Existing]]:
    """What we find, and the shared job of each key, held until we commit; of needs that no draft makes, an unshared one
    will do.
    """
    keys = {draft.key for draft in drafts}
    outside = {need for draft in drafts for need in draft.needs} - keys
    words = {"project": scope.project, "actor": scope.actor}
    rows = [
        row
        for batch in list(batches(sorted(keys | outside))) or [[]]
        for row in session.connection().execute(_outlook_and_shared_ones(), {"keys": batch, **words})
    ]
    found = {row.key: _as_existing(row) for row in rows if row.id is not None}
    for batch in batches(sorted(outside - set(found))):
        query = _columns().where(Job.key.in_(batch)).order_by(Job.id).with_for_update(read=True)
        found.update({row.key: _as_existing(row) for row in session.execute(query)})
    return sharing.Outlook(rows[0].present, rows[0].apart, rows[0].now), found


@cache
def _outlook_and_shared_ones() -> Select[Any]:
    """One row at least, of the outlook alone where no key is known: two statements would take twice as long."""
    keys: BindParameter[str] = bindparam("keys", expanding=True)
    shared = _columns().where(Job.key.in_(keys), Job.shared).order_by(Job.id).with_for_update(read=True).subquery()
    outlook = sharing.outlook().subquery()
    return select(outlook, shared).select_from(outlook.outerjoin(shared, true()))


def _columns() -> Select[Any]:
    return select(Job.id, Job.key, Job.kind, Job.state, Job.result, Job.turn, Job.share)


def _as_existing(row: Any) -> _Existing:
    return _Existing(row.id, row.key, row.kind, row.state, row.result, -row.turn, row.share)


def _check_looked_for(
    drafts: Sequence[JobDraft], existing: dict[str, _Existing], cache: Cache, looked_for: frozenset[str]
) -> None:
    """Parts are not asked for theirs, which go after a success; datasets are shared under every `cache`."""
    done = {
        draft.key: row.result
        for draft in drafts
        if (row := existing.get(draft.key)) is not None and row.state == "succeeded" and draft.key not in looked_for
        if draft.kind in OF_DATASETS or (cache == "use" and draft.kind not in PARTS)
        if any(object_digests(row.result))
    }
    if done:
        raise Unverified(done)


def _with_parts(
    session: Session,
    drafts: Sequence[JobDraft],
    existing: dict[str, _Existing],
    cache: Cache,
    missing: frozenset[str],
) -> tuple[Sequence[JobDraft], frozenset[str]]:
    """The drafts without idle parts, and the keys whose bytes count as lost: those of parts go after a success."""
    split = [draft for draft in drafts if draft.parts]
    if not split:
        return drafts, missing
    kept = {
        draft.key
        for draft in split
        if draft.key in existing and not _is_replaced(draft, existing[draft.key], cache, missing, set())
    }
    again = {part for draft in split if draft.key not in kept for part in draft.parts}
    has = _parts_of(session, {existing[key].id: key for key in kept if existing[key].state != "succeeded"})
    left = without_idle_parts(drafts, kept - {draft.key for draft in split if has[draft.key].issuperset(draft.parts)})
    for key in {draft.key for draft in drafts} - {draft.key for draft in left}:
        existing.pop(key, None)
    return left, missing | again


def _parts_of(session: Session, keys: dict[str, str]) -> defaultdict[str, set[str]]:
    """The keys of the parts that these jobs, by id, need."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    query = select(Need.job_id, Job.key).join(Job, Job.id == Need.need_id).where(Job.kind.in_(PARTS))
    for batch in batches(sorted(keys)):
        for job_id, part in session.execute(query.where(Need.job_id.in_(batch))):
            found[keys[job_id]].add(part)
    return found


def _is_replaced(draft: JobDraft, row: _Existing, cache: Cache, missing: frozenset[str], fresh: set[str]) -> bool:
    if draft.key in missing or (draft.kind not in OF_DATASETS and cache != "use"):
        return True
    if draft.needs_success:
        return False
    # A report that was drawn, or is about to be, without the jobs that are now done (again).
    has_old_needs = row.state in ("queued", "running", "succeeded") and not fresh.isdisjoint(draft.needs)
    return has_old_needs or (row.state == "succeeded" and not row.is_complete)


def _is_shared(draft: JobDraft, cache: Cache, missing: frozenset[str]) -> bool:
    return cache != "off" or draft.kind in OF_DATASETS


def _check_needs(drafts: Sequence[JobDraft], existing: dict[str, _Existing]) -> None:
    keys = {draft.key for draft in drafts}
    for need in (need for draft in drafts for need in draft.needs if need not in keys):
        if need not in existing:
            raise Conflict(f"a job that is needed does not exist: key {need}")
        if existing[need].state in ("failed", "cancelled"):
            raise Conflict(f"{existing[need].kind} {existing[need].id} is needed, and is {existing[need].state}")


def _check_account(session: Session, scope: Scope) -> None:
    if scope.reads_only:
        raise NotAllowed("this would start work, and your key may only read")
    quotas.check(session, scope)


def _unshare(session: Session, stale: Sequence[_Existing]) -> None:
    for batch in batches(sorted(row.id for row in stale)):
        session.execute(update(Job).where(Job.id.in_(batch)).values(shared=False))


def _shares(
    outlook: sharing.Outlook, drafts: Sequence[JobDraft], existing: dict[str, _Existing], fresh: set[str]
) -> dict[str, float]:
    """Where in the queue each draft would stand, were it new."""
    costs = [draft.key in fresh or existing[draft.key].state in UNENDED for draft in drafts]
    places = sharing.shares(drafts, costs, outlook.present, outlook.apart)
    return {draft.key: share for draft, share in zip(drafts, places, strict=True)}


def _insert(session: Session, drafts: Sequence[JobDraft], rows: list[dict[str, object]], placed: Placed) -> None:
    ids = new_ids(len(drafts))
    placed.ids.update({draft.key: job_id for draft, job_id in zip(drafts, ids, strict=True)})
    needs = [{"job_id": placed.ids[draft.key], "need_id": placed.ids[need]} for draft in drafts for need in draft.needs]
    if rows:
        # One time for all, so that claims go by id, the order of the drafts.
        rows = [{**row, "id": placed.ids[str(row["key"])], "created_at": placed.now} for row in rows]
        # In the order of their keys: two transactions that insert the same keys meet at the first of them.
        write_rows(session.connection(), Job, sorted(rows, key=lambda row: str(row["key"])))
    write_rows(session.connection(), Need, needs)
    created = {"from": None, "to": "waiting", "attempt": 0}
    events.add(
        session,
        (
            {"job_id": placed.ids[draft.key], "kind": "state", "data": {**created, "kind": draft.kind}}
            for draft in drafts
        ),
    )


def _row(draft: JobDraft, *, is_shared: bool) -> dict[str, object]:
    return {
        "key": draft.key,
        "kind": draft.kind,
        "queue": QUEUES[draft.kind],
        "gpus": draft.gpus,
        "spec": draft.spec,
        "labels": draft.labels,
        "state": "waiting",
        "needs_success": draft.needs_success,
        "shared": is_shared,
    }


def _follow_datasets(session: Session, stale: Sequence[_Existing], placed: Placed) -> None:
    for row in stale:
        if row.kind == "ingest":
            session.execute(update(Dataset).where(Dataset.job_id == row.id).values(job_id=placed.ids[row.key]))


def _rewire(
    session: Session,
    drafts: Sequence[JobDraft],
    existing: dict[str, _Existing],
    placed: Placed,
    fresh: set[str],
) -> None:
    """Point jobs that have yet to start at the jobs that replaced those they needed."""
    for draft in drafts:
        row = existing.get(draft.key)
        kept = row is not None and placed.ids[draft.key] == row.id
        if not (kept and row and row.state in ("waiting", "failed", "cancelled") and fresh.intersection(draft.needs)):
            continue
        session.execute(delete(Need).where(Need.job_id == row.id))
        session.execute(insert(Need), [{"job_id": row.id, "need_id": placed.ids[need]} for need in draft.needs])


def _want_again(session: Session, rows: Sequence[_Existing], priority: int, shares: dict[str, float]) -> None:
    """Jobs that somebody else asked for: they are wanted now, at this priority at least, and no later than ours."""
    unended = [row for row in rows if row.state in UNENDED]
    running = [row.id for row in unended if row.state == "running"]
    slower = [row.id for row in unended if row.priority < priority]
    later = {row.id: shares[row.key] for row in unended if row.key in shares and row.share > shares[row.key]}
    lock(session, {*running, *slower, *later})
    for job_id, share in later.items():
        session.execute(update(Job).where(Job.id == job_id, Job.share > share).values(share=share))
    for batch in batches(running):
        session.execute(update(Job).where(Job.id.in_(batch), Job.cancel_requested).values(cancel_requested=False))
    for batch in batches(slower):
        session.execute(update(Job).where(Job.id.in_(batch), Job.turn > -priority).values(turn=-priority))
