"""The record of who did what, and when. Only this module writes it, and it only adds."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import AuditEvent as Row
from transfusion_core.db.writing import write_later


@dataclass(frozen=True, kw_only=True)
class AuditEvent:
    """One deed: `actor` is the id of an API key, `subject` names what it was done to."""

    id: str
    at: datetime
    actor: str
    project: str
    action: str
    subject: str
    request_id: str | None


def add(session: Session, scope: Scope, action: str, subject: str) -> None:
    """Record a deed in the transaction that does it, at its end."""
    who = {"actor": scope.actor, "project": scope.project, "request_id": scope.request_id}
    write_later(session, Row, [{"id": new_id(), "action": action, "subject": subject, **who}])


def holds(session: Session, action: str, subject: str) -> bool:
    """Whether such a deed was ever done to this subject."""
    return (
        session.scalars(select(Row.id).where(Row.action == action, Row.subject == subject).limit(1)).first() is not None
    )


def page(scope: Scope, *, limit: int, cursor: str | None = None) -> Page[AuditEvent]:
    """Deeds of the project, for those who run the service of all projects; the newest first."""
    query = select(Row).where(scope.answers_for(Row.project))
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Row.id, limit=limit, cursor=cursor)
        items = [
            AuditEvent(**{word: getattr(row, word) for word in AuditEvent.__dataclass_fields__}) for (row,) in rows
        ]
        return Page(items, cursor_after(items[-1].id) if more else None)
