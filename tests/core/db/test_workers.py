"""The workers that are there."""

from typing import Any

from sqlalchemy import Engine, update

from transfusion_core.db import workers
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.tables import Worker as Row
from transfusion_core.specs.worker import Equipment


def _equipment(**more: Any) -> Equipment:
    words = {
        "version": "1",
        "slots": 1,
        "running": 0,
        "cores": 8,
        "free_bytes": 1,
        "memory_bytes": 1,
        "queues": ["gpu"],
    }
    return Equipment.model_validate({**words, **more})


def test_a_worker_is_there_once_as_it_last_said(engine: Engine) -> None:
    workers.seen(engine, "b", _equipment())
    workers.seen(engine, "a", _equipment())
    workers.seen(engine, "b", _equipment(running=1))
    assert [(worker.name, worker.running) for worker in workers.living(engine)] == [("a", 0), ("b", 1)]


def test_who_ended_or_was_not_seen_for_long_is_not_there(engine: Engine) -> None:
    for name in ("ended", "silent", "there"):
        workers.seen(engine, name, _equipment())
    workers.gone(engine, "ended")
    with unit_of_work(engine) as session:
        session.execute(update(Row).where(Row.name == "silent").values(seen_at=clock(-workers.SEEN_SECONDS - 1)))
    assert [worker.name for worker in workers.living(engine)] == ["there"]


def test_what_a_newer_worker_says_is_read(engine: Engine) -> None:
    workers.seen(engine, "a", _equipment())
    with unit_of_work(engine) as session:
        session.execute(update(Row).values(found={**_equipment().model_dump(mode="json"), "colour": "green"}))
    assert workers.living(engine)[0].cores == 8


def test_workers_that_nobody_has_seen_for_a_day_are_forgotten(engine: Engine) -> None:
    workers.seen(engine, "old", _equipment())
    with unit_of_work(engine) as session:
        session.execute(update(Row).values(seen_at=clock(-90_000)))
    workers.seen(engine, "new", _equipment())
    with unit_of_work(engine, write=False) as session:
        assert [row.name for row in session.query(Row)] == ["new"]
