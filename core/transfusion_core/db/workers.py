"""Workers that look for jobs: each says now and then what it has. Nothing depends on it: jobs are kept by leases."""

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.orm import Session

from transfusion_core.db.clock import clock, rfc3339
from transfusion_core.db.engine import transact, unit_of_work
from transfusion_core.db.tables import Worker as Row
from transfusion_core.specs.worker import Equipment, Worker

SEEN_SECONDS = 60.0
"""Who has not been seen for so long is not there."""
_FORGOTTEN_SECONDS = 86_400.0


def seen(engine: Engine, name: str, equipment: Equipment) -> None:
    """The worker of this name is there, and has this."""
    found = equipment.model_dump(mode="json")

    def work(session: Session) -> None:
        told = update(Row).where(Row.name == name).values(found=found, seen_at=clock()).returning(Row.name)
        if session.execute(told.execution_options(synchronize_session=False)).one_or_none() is None:
            session.execute(delete(Row).where(Row.seen_at < clock(-_FORGOTTEN_SECONDS)))
            session.add(Row(name=name, found=found))
            session.flush()

    transact(engine, work)


def gone(engine: Engine, name: str) -> None:
    """The worker of this name has ended."""
    with unit_of_work(engine) as session:
        session.execute(delete(Row).where(Row.name == name))


def living(engine: Engine) -> list[Worker]:
    """The workers that were seen in the last minute, by name."""
    query = select(Row).where(Row.seen_at > clock(-SEEN_SECONDS)).order_by(Row.name)
    with unit_of_work(engine, write=False) as session:
        return [
            Worker.of(row.found, name=row.name, started_at=rfc3339(row.started_at), seen_at=rfc3339(row.seen_at))
            for row in session.scalars(query)
        ]


def most_gpus(engine: Engine) -> int | None:
    """What a job may need at most to be done by somebody; None where any number will do, or nobody is there."""
    given = [worker.most_gpus for worker in living(engine)]
    return None if None in given else max((most for most in given if most is not None), default=None)
