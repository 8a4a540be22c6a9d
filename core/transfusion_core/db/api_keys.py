"""API keys: an id and 256 random bits; the bits are kept as an HMAC only, compared in constant time, shown once."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import ColumnElement, Engine, ScalarResult, or_, select, update
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.ids import new_id
from transfusion_core.db.tables import ApiKey as Row
from transfusion_core.errors import NotFound

Role = Literal["read", "write", "admin"]
_FROM_ENVIRONMENT = "admin key of the environment"
_SECRET_BYTES = 32
_ID_LENGTH = 26


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key without its secret."""

    id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def create(engine: Engine, *, name: str, role: Role, expires_at: datetime | None = None) -> tuple[ApiKey, str]:
    """A new key and, this once, its plaintext `tf_ID_SECRET`."""
    key_id, secret = new_id(), secrets.token_urlsafe(_SECRET_BYTES)
    with unit_of_work(engine) as session:
        row = _add(session, key_id, secret, name=name, role=role, expires_at=expires_at)
        return _record(row), f"tf_{key_id}_{secret}"


def verify(engine: Engine, presented: str) -> ApiKey | None:
    """The key that was presented; None where it is unknown, wrong, expired or revoked, which take the same time."""
    key_id, secret = _parts(presented)
    with unit_of_work(engine, write=False) as session:
        row = _valid(session, key_id).one_or_none()
        expected = row.secret_digest if row else _digest(key_id, "")
        matches = hmac.compare_digest(expected, _digest(key_id, secret))
        return _record(row) if row and matches else None


def page(engine: Engine) -> list[ApiKey]:
    """All keys, newest first."""
    with unit_of_work(engine, write=False) as session:
        return [_record(row) for row in session.scalars(select(Row).order_by(Row.id.desc()))]


def revoke(engine: Engine, key_id: str) -> ApiKey:
    """Take a key back; doing it again changes nothing. Raises NotFound."""
    with unit_of_work(engine) as session:
        session.execute(update(Row).where(Row.id == key_id, Row.revoked_at.is_(None)).values(revoked_at=clock()))
        row = session.get(Row, key_id, populate_existing=True)
        if row is None:
            raise NotFound(f"there is no API key {key_id!r}")
        return _record(row)


def ensure_admin(engine: Engine, key: str | None) -> str | None:
    """See to it that an admin key exists: `key` if given (an earlier one from here is revoked), else a new one.

    The plaintext is returned where a new one was made.
    """
    if key is None:
        return _make_admin(engine)
    _take_admin(engine, key)
    return None


def _take_admin(engine: Engine, key: str) -> None:
    key_id, secret = _parts(key)

    def work(session: Session) -> None:
        earlier = (Row.name == _FROM_ENVIRONMENT, Row.id != key_id, Row.revoked_at.is_(None))
        session.execute(update(Row).where(*earlier).values(revoked_at=clock()))
        row = session.get(Row, key_id)
        if row is None:
            _add(session, key_id, secret, name=_FROM_ENVIRONMENT, role="admin", expires_at=None)
        else:
            row.revoked_at, row.secret_digest = None, _digest(key_id, secret)

    transact(engine, work)


def _make_admin(engine: Engine) -> str | None:
    with unit_of_work(engine, write=False) as session:
        admins = select(Row).where(Row.role == "admin", Row.revoked_at.is_(None))
        if session.scalars(admins.where(_unexpired()).limit(1)).one_or_none():
            return None
    return create(engine, name="first admin key", role="admin")[1]


def _add(session: Session, key_id: str, secret: str, *, name: str, role: Role, expires_at: datetime | None) -> Row:
    row = Row(id=key_id, name=name, role=role, expires_at=expires_at, secret_digest=_digest(key_id, secret))
    session.add(row)
    session.flush()
    session.refresh(row)
    return row


def _parts(presented: str) -> tuple[str, str]:
    """Id and secret; a key of another shape, which only the environment brings, has an id made of its digest."""
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix == "tf" and len(key_id) == _ID_LENGTH and key_id.isascii() and key_id.isalnum() and secret:
        return key_id, secret
    return _digest("id", presented)[:_ID_LENGTH], presented


def _digest(key_id: str, secret: str) -> str:
    return hmac.new(key_id.encode(), secret.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _valid(session: Session, key_id: str) -> ScalarResult[Row]:
    return session.scalars(select(Row).where(Row.id == key_id, Row.revoked_at.is_(None), _unexpired()))


def _unexpired() -> ColumnElement[bool]:
    return or_(Row.expires_at.is_(None), Row.expires_at > clock())


def _record(row: Row) -> ApiKey:
    role = next(role for role in get_args(Role) if role == row.role)
    return ApiKey(
        id=row.id,
        name=row.name,
        role=role,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
