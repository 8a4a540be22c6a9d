"""Rows that are written at once are as they would be one by one."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError

from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.ids import new_ids
from transfusion_core.db.tables import Event, Job, Need, bare
from transfusion_core.db.writing import write_rows
from transfusion_core.errors import InvalidRequest

SPEC = {"z": 0.1, "a": [1e-300, -0.0, None, True, "ünï \\ \" '"], "m": {"y": 1, "b": {}}}


def rows(count: int) -> list[dict]:
    """Jobs with documents, numbers, a time and nothing."""
    common = {"kind": "train", "queue": "gpu", "state": "waiting", "spec": SPEC, "labels": {}, "shared": False}
    at = datetime(2026, 1, 31, 12, 0, 0, 123000, tzinfo=UTC)
    return [
        {**common, "id": job_id, "key": f"k{number}", "share": number / 3, "owner": None, "created_at": at}
        for number, job_id in enumerate(new_ids(count))
    ]


def test_rows_written_at_once_are_those_written_one_by_one(engine: Engine):
    together, alone = rows(3), rows(3)
    with unit_of_work(engine) as session:
        write_rows(session.connection(), Job, together)
        for row in alone:
            session.execute(insert(bare(Job)), row)
        write_rows(session.connection(), Need, [])
    with unit_of_work(engine, write=False) as session:
        columns = [column for column in bare(Job).columns if column.name != "id"]
        at_once, one_by_one = (
            session.execute(select(*columns).where(Job.id.in_([row["id"] for row in some])).order_by(Job.key)).all()
            for some in (together, alone)
        )
    assert [tuple(row) for row in at_once] == [tuple(row) for row in one_by_one]
    written = at_once[0]._mapping
    assert (list(written["spec"]), written["spec"], written["turn"], written["origin"]) == (list(SPEC), SPEC, 0, None)


def test_rows_are_numbered_in_their_order(engine: Engine):
    with unit_of_work(engine) as session:
        told = [{"job_id": None, "experiment_id": "e", "kind": "k", "data": {"n": number}} for number in range(2500)]
        write_rows(session.connection(), Event, told)
    with unit_of_work(engine, write=False) as session:
        kept = session.scalars(select(Event.data).where(Event.experiment_id == "e").order_by(Event.id)).all()
    assert [data["n"] for data in kept] == list(range(2500))


def test_rows_that_cannot_be_kept_are_refused_together(engine: Engine):
    first, second, _ = rows(3)
    with pytest.raises(IntegrityError), unit_of_work(engine) as session:
        write_rows(session.connection(), Job, [first, {**second, "id": first["id"]}])
    if engine.dialect.name == "postgresql":  # SQLite keeps NUL
        with pytest.raises(InvalidRequest, match="cannot keep"), unit_of_work(engine) as session:
            write_rows(session.connection(), Job, [first, {**second, "key": "a\0b"}])
    with unit_of_work(engine, write=False) as session:
        assert session.scalars(select(Job.id)).all() == []
