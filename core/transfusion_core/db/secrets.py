"""What the service keeps secret for itself, made when it is first asked for."""

import secrets

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from transfusion_core.db.engine import transact
from transfusion_core.db.tables import Secret

_BYTES = 32


def kept(engine: Engine, name: str) -> bytes:
    """The random bytes of this name: the same for every process of the service, for as long as its database lives."""

    def work(session: Session) -> bytes:
        row = session.get(Secret, name)
        if row is None:
            row = Secret(name=name, value=secrets.token_hex(_BYTES))
            session.add(row)
            session.flush()
        return bytes.fromhex(row.value)

    return transact(engine, work)
