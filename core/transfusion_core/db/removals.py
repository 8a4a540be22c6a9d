"""Removals: what is deleted leaves a mark that names its objects, in the transaction that takes the rows away.

So there is no moment in which a row points at bytes that are going, nor one in which bytes are left that nobody knows
of: whoever finds the mark goes on with it.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Row, Select, func, insert, select, update
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock, rfc3339
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Removal as Marked
from transfusion_core.db.tables import RemovedObject as Object
from transfusion_core.errors import NotFound
from transfusion_core.specs.removal import Removal, RemovalKind, RemovedObject


@dataclass(frozen=True)
class Mark:
    """A removal that is not finished."""

    id: str
    places: list[str]
    """Keys, and prefixes that end with a slash."""


def mark(session: Session, kind: RemovalKind, name: str, places: Sequence[str], *, project: str) -> str:
    """Say in this transaction that nothing points at these places any more; the removal's id."""
    removal_id = new_id()
    session.add(Marked(id=removal_id, kind=kind, name=name, places=list(places), project=project))
    session.flush()
    return removal_id


def places_of_jobs(job_ids: Collection[str]) -> list[str]:
    """Where the objects of jobs lie, of all their attempts."""
    return [f"jobs/{job_id}/" for job_id in sorted(job_ids)]


def unfinished(engine: Engine) -> list[Mark]:
    """Removals that somebody has to go on with, the oldest first."""
    query = select(Marked).where(Marked.finished_at.is_(None)).order_by(Marked.id)
    with unit_of_work(engine, write=False) as session:
        return [Mark(row.id, row.places) for row in session.scalars(query)]


def find_unfinished(engine: Engine, removal_id: str) -> Mark | None:
    """The removal, if somebody has to go on with it."""
    query = select(Marked).where(Marked.id == removal_id, Marked.finished_at.is_(None))
    with unit_of_work(engine, write=False) as session:
        row = session.scalars(query).one_or_none()
        return Mark(row.id, row.places) if row is not None else None


def note(engine: Engine, removal_id: str, objects: Sequence[tuple[str, int]]) -> None:
    """Keys and sizes of what goes next. Whoever goes on after an interruption notes the same again."""

    transact(engine, lambda session: add_objects(session, removal_id, objects))


def add_objects(session: Session, removal_id: str, objects: Sequence[tuple[str, int]]) -> None:
    """The same within a transaction."""
    keys = [key for key, _ in objects]
    known = set(session.scalars(select(Object.key).where(Object.removal_id == removal_id, Object.key.in_(keys))))
    rows = [
        {"removal_id": removal_id, "key": key, "size_bytes": size_bytes}
        for key, size_bytes in objects
        if key not in known
    ]
    if rows:
        session.execute(insert(Object), rows)


def finish(engine: Engine, removal_id: str) -> None:
    """The store has none of its objects any more."""
    with unit_of_work(engine) as session:
        here = (Marked.id == removal_id, Marked.finished_at.is_(None))
        session.execute(update(Marked).where(*here).values(finished_at=clock()))


def get(scope: Scope, removal_id: str) -> Removal:
    """One removal. Raises NotFound."""
    with unit_of_work(scope.engine, write=False) as session:
        found = session.execute(_counted(scope).where(Marked.id == removal_id)).one_or_none()
        if found is None:
            raise NotFound(f"there is no removal {removal_id!r}")
        return _removal(found)


def page(scope: Scope, *, limit: int, cursor: str | None = None) -> Page[Removal]:
    """Removals, the newest first."""
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, _counted(scope), Marked.id, limit=limit, cursor=cursor)
        items = [_removal(row) for row in rows]
        return Page(items, cursor_after(items[-1].id) if more else None)


def objects(scope: Scope, removal_id: str, *, limit: int, cursor: str | None = None) -> Page[RemovedObject]:
    """What a removal took out of the store, by key from the last. Raises NotFound."""
    get(scope, removal_id)
    query = select(Object).where(Object.removal_id == removal_id)
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Object.key, limit=limit, cursor=cursor)
        items = [RemovedObject(key=row.key, size_bytes=row.size_bytes) for (row,) in rows]
        return Page(items, cursor_after(items[-1].key) if more else None)


def every_object(engine: Engine, removal_id: str) -> list[RemovedObject]:
    """All that a removal took, or takes, out of the store."""
    query = select(Object).where(Object.removal_id == removal_id).order_by(Object.key)
    with unit_of_work(engine, write=False) as session:
        return [RemovedObject(key=row.key, size_bytes=row.size_bytes) for row in session.scalars(query)]


def is_under_way(session: Session, key: str) -> bool:
    """Whether this very object is being removed."""
    query = select(Object.key).join(Marked, Marked.id == Object.removal_id)
    return session.scalars(query.where(Object.key == key, Marked.finished_at.is_(None)).limit(1)).first() is not None


def places_under_way(session: Session) -> set[str]:
    """The places of all removals that are not finished."""
    marks = session.scalars(select(Marked.places).where(Marked.finished_at.is_(None)))
    return {place for places in marks for place in places}


def newest_version(session: Session, scope: Scope, dataset: str) -> int:
    """The highest version of a dataset that the project ever deleted; 0 for none. Names are never given twice."""
    named = (Marked.name.startswith(f"{dataset}@", autoescape=True), Marked.project == scope.project)
    names = session.scalars(select(Marked.name).where(Marked.kind == "dataset", *named))
    return max((int(name.rpartition("@")[2]) for name in names), default=0)


def _counted(scope: Scope) -> Select[Marked, int, int]:
    counted = (
        select(
            Object.removal_id, func.count().label("objects"), func.sum(Object.size_bytes).label("size_bytes")
        ).group_by(Object.removal_id)
    ).subquery()
    with_counts = select(Marked, func.coalesce(counted.c.objects, 0), func.coalesce(counted.c.size_bytes, 0))
    return with_counts.outerjoin(counted, counted.c.removal_id == Marked.id).where(scope.answers_for(Marked.project))


def _removal(found: Row[Marked, int, int]) -> Removal:
    row, count, size_bytes = found
    return Removal.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "name": row.name,
            "state": "done" if row.finished_at else "removing",
            "objects": count,
            "size_bytes": size_bytes,
            "created_at": rfc3339(row.created_at),
            "finished_at": rfc3339(row.finished_at) if row.finished_at else None,
        }
    )
