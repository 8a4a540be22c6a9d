"""API keys: an id and 256 random bits; the bits are kept as a keyed HMAC only, compared in constant time, shown once.

`secret` is the service's own, the HMAC's key: whoever has the database alone can neither try nor make a key.
"""

import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, get_args

from sqlalchemy import ColumnElement, Connection, Engine, Select, bindparam, or_, select, text, update
from sqlalchemy.orm import Session

from transfusion_core.db import audit
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import glance, transact, unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.paging import Page, cursor_after, page_rows
from transfusion_core.db.quotas import quota_of
from transfusion_core.db.scope import LOCAL, Scope
from transfusion_core.db.tables import ApiKey as Row
from transfusion_core.db.tables import bare
from transfusion_core.errors import NotAllowed, NotFound
from transfusion_core.specs.quota import Quota

_log = logging.getLogger(__name__)
Role = Literal["read", "write", "admin"]
_FROM_ENVIRONMENT = "admin key of the environment"
_SECRET_BYTES = 32
_ID_LENGTH = 26
_FIRST_KEY_LOCK = 7_233_803
"""PostgreSQL advisory lock: of several services that start on a new database one makes the first key."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without its secret."""

    id: str
    name: str
    project: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    quota: Quota | None


def create(
    scope: Scope,
    secret: bytes,
    *,
    name: str,
    role: Role,
    project: str | None = None,
    expires_at: datetime | None = None,
    quota: Quota | None = None,
) -> tuple[ApiKey, str]:
    """A new key and, this once, its plaintext `tf_ID_BITS`.

    Without a `project` it is of one of its own where those who run the service make it, else of its maker's. Raises
    NotAllowed for another project than the maker's own.
    """
    if scope.project != LOCAL and project not in (None, scope.project):
        raise NotAllowed(f"your key is of project {scope.project!r}, and makes keys for that project alone")
    project = project or (None if scope.project == LOCAL else scope.project)
    limits = {f"quota_{limit}": most for limit, most in (quota or Quota()).model_dump().items()}
    with unit_of_work(scope.engine) as session:
        words = {"name": name, "role": role, "project": project, "expires_at": expires_at, **limits}
        return _made(session, scope, secret, **words)


def _made(session: Session, scope: Scope, secret: bytes, *, project: str | None, **words: Any) -> tuple[ApiKey, str]:
    key_id, bits = new_id(), secrets.token_urlsafe(_SECRET_BYTES)
    row = _add(session, key_id, digest=_digest(secret, key_id, bits), project=project or key_id, **words)
    audit.add(session, scope, "key.create", key_id)
    return _record(row), f"tf_{key_id}_{bits}"


def verify(engine: Engine, secret: bytes, presented: str) -> ApiKey | None:
    """The key that was presented; None where it is unknown, wrong, expired or revoked, which take the same time."""
    key_id, bits = _parts(presented)
    with glance(engine) as connection:
        row = connection.execute(_valid(), {"id": key_id}).one_or_none()
        expected = row.secret_digest if row else _digest(secret, key_id, "")
        matches = hmac.compare_digest(expected, _digest(secret, key_id, bits))
        return _record(row) if row and matches else None


def get_valid(connection: Connection, key_id: str) -> ApiKey | None:
    """The key of this id, unless it is unknown, expired or revoked."""
    row = connection.execute(_valid(), {"id": key_id}).one_or_none()
    return _record(row) if row else None


def page(scope: Scope, *, limit: int, cursor: str | None = None) -> Page[ApiKey]:
    """The project's keys that are not revoked, for those who run the service all projects'; the newest first."""
    query = select(Row).where(Row.revoked_at.is_(None), scope.answers_for(Row.project))
    with unit_of_work(scope.engine, write=False) as session:
        rows, more = page_rows(session, query, Row.id, limit=limit, cursor=cursor)
        items = [_record(row) for (row,) in rows]
        return Page(items, cursor_after(items[-1].id) if more else None)


def revoke(scope: Scope, key_id: str) -> ApiKey:
    """Take a key back; doing it again changes nothing. Raises NotFound."""
    with unit_of_work(scope.engine) as session:
        ours = (Row.id == key_id, scope.answers_for(Row.project))
        session.execute(update(Row).where(*ours, Row.revoked_at.is_(None)).values(revoked_at=clock()))
        row = session.scalars(select(Row).where(*ours)).one_or_none()
        if row is None:
            raise NotFound(f"there is no API key {key_id!r}")
        audit.add(session, scope, "key.revoke", key_id)
        return _record(row)


def ensure_admin(engine: Engine, secret: bytes, key: str | None) -> str | None:
    """See to it that an admin key exists: `key` if given (an earlier one from here is revoked), else a new one.

    A given key that somebody has revoked stays revoked; the log says so.
    The plaintext is returned where a new one was made.
    """
    if key is None:
        return _make_admin(engine, secret)
    _take_admin(engine, secret, key)
    return None


def _take_admin(engine: Engine, secret: bytes, key: str) -> None:
    key_id, bits = _parts(key)
    digest, scope = _digest(secret, key_id, bits), Scope(engine)

    def work(session: Session) -> bool:
        row = session.get(Row, key_id)
        if row is not None and row.revoked_at is not None and audit.holds(session, "key.revoke", key_id):
            return False
        earlier = (Row.name == _FROM_ENVIRONMENT, Row.id != key_id, Row.revoked_at.is_(None))
        for replaced in session.scalars(select(Row).where(*earlier)).all():
            replaced.revoked_at = clock()
            audit.add(session, scope, "key.replace", replaced.id)
        if row is None:
            _add(session, key_id, digest=digest, name=_FROM_ENVIRONMENT, role="admin", project=LOCAL, expires_at=None)
        elif row.revoked_at is None and row.secret_digest == digest:
            return True
        else:
            row.revoked_at, row.secret_digest = None, digest
        audit.add(session, scope, "key.take", key_id)
        return True

    if not transact(engine, work):
        _log.warning(
            "the admin key that this service is started with (id %s) was revoked, and stays so: "
            "set another TRANSFUSION_ADMIN_KEY, or remove the file of the key, and one is made where there is none",
            key_id,
        )


def _make_admin(engine: Engine, secret: bytes) -> str | None:
    with unit_of_work(engine) as session:
        if engine.dialect.name == "postgresql":  # SQLite has one writer anyway
            session.execute(text(f"SELECT pg_advisory_xact_lock({_FIRST_KEY_LOCK})"))
        admins = select(Row).where(Row.role == "admin", Row.revoked_at.is_(None))
        if session.scalars(admins.where(_unexpired()).limit(1)).one_or_none():
            return None
        words = {"name": "first admin key", "role": "admin", "expires_at": None}
        return _made(session, Scope(engine), secret, project=LOCAL, **words)[1]


def _add(session: Session, key_id: str, *, digest: str, **words: Any) -> Row:
    row = Row(id=key_id, secret_digest=digest, **words)
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def _parts(presented: str) -> tuple[str, str]:
    """Id and random bits; a key of another shape, which only the environment brings, has an id made of its digest."""
    prefix, _, rest = presented.partition("_")
    key_id, _, bits = rest.partition("_")
    if prefix == "tf" and len(key_id) == _ID_LENGTH and key_id.isascii() and key_id.isalnum() and bits:
        return key_id, bits
    return hashlib.sha256(_bytes(presented)).hexdigest()[:_ID_LENGTH], presented


def _digest(secret: bytes, key_id: str, bits: str) -> str:
    return hmac.new(secret, _bytes(f"{key_id}_{bits}"), hashlib.sha256).hexdigest()


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@cache
def _valid() -> Select[Any]:
    return select(bare(Row)).where(Row.id == bindparam("id"), Row.revoked_at.is_(None), _unexpired())


def _unexpired() -> ColumnElement[bool]:
    return or_(Row.expires_at.is_(None), Row.expires_at > clock())


def _record(row: Any) -> ApiKey:
    role = next(role for role in get_args(Role) if role == row.role)
    return ApiKey(
        id=row.id,
        name=row.name,
        project=row.project,
        role=role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        quota=quota_of(row),
    )
