"""Web sessions: a browser that has shown an API key holds random bits in a cookie, of which we keep a digest."""

import hashlib
import secrets

from sqlalchemy import Engine, delete, insert, select

from transfusion_core.db import api_keys, audit
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import glance, unit_of_work
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import WebSession as Row

LIFETIME_SECONDS = 12 * 3600
"""A working day: then the key is asked for again."""
_TOKEN_BYTES = 32


def create(scope: Scope) -> str:
    """A session of the key that `scope.actor` names; what the cookie is to hold. Sessions that have ended go."""
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    with unit_of_work(scope.engine) as session:
        session.execute(delete(Row).where(Row.expires_at < clock()))
        words = {"digest": _digest(token), "key_id": scope.actor, "expires_at": clock(LIFETIME_SECONDS)}
        session.execute(insert(Row).values(**words))
        audit.add(session, scope, "session.create", scope.actor)
    return token


def key_of(engine: Engine, token: str) -> api_keys.ApiKey | None:
    """The key behind a session; None where either has ended."""
    with glance(engine) as connection:
        live = select(Row.key_id).where(Row.digest == _digest(token), Row.expires_at > clock())
        key_id = connection.scalars(live).one_or_none()
        return api_keys.get_valid(connection, key_id) if key_id else None


def end(scope: Scope, token: str) -> None:
    """End a session; one that has ended already stays so."""
    with unit_of_work(scope.engine) as session:
        session.execute(delete(Row).where(Row.digest == _digest(token)))
        audit.add(session, scope, "session.end", scope.actor)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
