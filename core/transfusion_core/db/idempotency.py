"""Idempotency: a request that is sent twice under one Idempotency-Key is done once."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.records import Created
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import IdempotentAnswer
from transfusion_core.errors import IdempotencyMismatch

Request = tuple[str, str, str]
"""Idempotency-Key, route, digest of the body."""


@dataclass(frozen=True)
class Answer:
    """What the first request was answered: the id of what it made."""

    data: dict[str, Any]


def look(scope: Scope, key: str, route: str, body_digest: str) -> Answer | None:
    """The answer to an earlier request of this key and route. Raises IdempotencyMismatch where its body was other."""
    with unit_of_work(scope.engine, write=False) as session:
        return _found(session, scope, (key, route, body_digest))


def answered(session: Session, scope: Scope, request: Request | None) -> Created | None:
    """What an earlier request made, within the transaction that would make it again."""
    found = _found(session, scope, request) if request else None
    return Created(found.data["id"], [], is_new=False) if found else None


def remember(session: Session, scope: Scope, request: Request | None, created_id: str) -> None:
    """Keep the answer in the transaction that makes it true."""
    if request is not None:
        key, route, body_digest = request
        answer = {"id": created_id}
        words = {"key": key, "route": route, "body_digest": body_digest, "answer": answer}
        session.add(IdempotentAnswer(project=scope.project, **words))
        session.flush()


def _found(session: Session, scope: Scope, request: Request) -> Answer | None:
    key, route, body_digest = request
    row = session.get(IdempotentAnswer, (scope.project, key, route))
    if row is None:
        return None
    if row.body_digest != body_digest:
        raise IdempotencyMismatch
    return Answer(row.answer)
