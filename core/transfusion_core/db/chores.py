"""Chores: what one of many workers does now and then for all of them."""

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock
from transfusion_core.db.engine import transact
from transfusion_core.db.tables import Chore


def take(engine: Engine, name: str, *, every_seconds: float) -> bool:
    """Whether it is this caller's turn: nobody has begun it for so long."""

    def work(session: Session) -> bool:
        due = (Chore.name == name, Chore.begun_at <= clock(-every_seconds))
        statement = update(Chore).where(*due).values(begun_at=clock()).returning(Chore.name)
        if session.execute(statement.execution_options(synchronize_session=False)).one_or_none():
            return True
        if session.get(Chore, name) is not None:
            return False
        session.add(Chore(name=name))
        session.flush()
        return True

    return transact(engine, work)
