from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, func, inspect, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from servers import free_port
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import connect, glance, migrate, migration_config, ping, transact, unit_of_work
from transfusion_core.db.tables import Table, Weights
from transfusion_core.errors import InvalidRequest, Unavailable


def test_the_migrations_make_the_schema_that_the_tables_describe(engine: Engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_a_downgrade_takes_everything_away_and_an_upgrade_brings_it_back(database_url: str):
    engine = connect(database_url)
    migrate(engine)
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate(engine)
    ping(engine)
    with engine.connect() as connection:
        assert set(Table.metadata.tables) < set(inspect(connection).get_table_names())
    engine.dispose()


def test_many_may_open_a_new_sqlite_file_at_once(tmp_path: Path):
    """SQLite answers "database is locked" to some who turn on the write-ahead log together, without any wait."""
    for number in range(40):
        engines = [connect(f"sqlite:///{tmp_path}/{number}.db") for _ in range(8)]
        together = Barrier(8)

        def open_it(engine: Engine, together: Barrier = together) -> None:
            together.wait(timeout=10)
            ping(engine)
            engine.dispose()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(open_it, engines))


def test_writers_of_one_process_take_turns_and_give_up_after_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Engines of one file share its turn, whatever the file is called."""
    (tmp_path / "d").mkdir()
    first, second = (connect(f"sqlite:///{tmp_path}/{name}") for name in ("t.db", "d/../t.db"))
    migrate(first)
    monkeypatch.setattr("transfusion_core.db.engine._BUSY_TIMEOUT_SECONDS", 0.05)
    with (
        unit_of_work(first),
        pytest.raises(Unavailable, match=r"another writer has it for 0\.05 s"),
        unit_of_work(second),
    ):
        pass
    with unit_of_work(first, write=False), unit_of_work(second):
        ping(first)
    first.dispose()
    second.dispose()


def test_several_may_migrate_at_once(database_url: str):
    engines = [connect(database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(migrate, engines))
    for engine in engines:
        ping(engine)
        engine.dispose()


def test_a_database_that_does_not_answer_is_unavailable():
    engine = connect(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(Unavailable, match="does not answer"):
        ping(engine)


def test_a_database_in_memory_is_refused():
    with pytest.raises(ValueError, match="expected a SQLite file"):
        connect("sqlite://")


def test_sqlite_is_set_up_for_safety(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        answers = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    engine.dispose()
    assert answers == ["wal", 2, 1, 30_000]


def write_and_break(engine: Engine) -> None:
    with unit_of_work(engine) as session:
        row = "('default', 'a', '{}', '2026-01-01T00:00:00.000Z')"
        session.execute(text(f"INSERT INTO weights (project, name, object, created_at) VALUES {row}"))
        raise RuntimeError


def test_what_raises_is_rolled_back(engine: Engine):
    with pytest.raises(RuntimeError):
        write_and_break(engine)
    with unit_of_work(engine, write=False) as session:
        assert session.scalar(text("SELECT count(*) FROM weights")) == 0


def test_the_clock_is_aware_utc_and_adds_seconds(engine: Engine):
    with unit_of_work(engine, write=False) as session:
        now, later, earlier = session.execute(select(clock(), clock(90.5), clock(-10.0))).one()
    assert now.utcoffset().total_seconds() == 0
    assert (later - now).total_seconds() == pytest.approx(90.5, abs=0.01)
    assert (now - earlier).total_seconds() == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("name", ["a\x00b", "a\ud800b"])
def test_text_that_the_database_cannot_keep_is_an_invalid_request(engine: Engine, name: str):
    if engine.dialect.name == "sqlite" and "\x00" in name:
        pytest.skip("SQLite keeps NUL")
    with pytest.raises(InvalidRequest), unit_of_work(engine) as session:
        session.execute(text("SELECT :name"), {"name": name})


def test_an_exhausted_pool_is_unavailable(tmp_path: Path):
    engine = connect(f"sqlite:///{tmp_path}/a.db")
    with pytest.raises(Unavailable, match="no connection"), unit_of_work(engine):
        raise PoolTimeout("no connection is free")
    engine.dispose()


def insert_weights(session: Session, name: str) -> None:
    session.add(Weights(project="default", name=name, object={}))
    session.flush()


def test_work_that_another_transaction_came_between_is_done_again(engine: Engine):
    names = iter(["taken", "taken", "free"])
    transact(engine, lambda session: insert_weights(session, "taken"))
    transact(engine, lambda session: insert_weights(session, next(names)))
    with unit_of_work(engine, write=False) as session:
        assert session.scalars(select(Weights.name).order_by(Weights.name)).all() == ["free", "taken"]
    with pytest.raises(IntegrityError):
        transact(engine, lambda session: insert_weights(session, "taken"))


@pytest.mark.parametrize("database", ["postgres"])
def test_a_deadlock_is_resolved_by_doing_one_of_the_two_again(engine: Engine):
    for name in "ab":
        transact(engine, lambda session, name=name: insert_weights(session, name))
    barrier, tries = Barrier(2), []

    def lock_both(names: str) -> None:
        def work(session: Session) -> None:
            tries.append(names)
            for name in names:
                session.get(Weights, ("default", name), with_for_update=True, populate_existing=True)
                if name == names[0] and len(tries) <= 2:
                    barrier.wait(timeout=10)

        transact(engine, work)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lock_both, ["ab", "ba"]))
    assert sorted(tries[:2]) == ["ab", "ba"]
    assert len(tries) >= 3


@pytest.mark.parametrize("database", ["postgres"])
@pytest.mark.parametrize("sure_seconds", [60.0, 0.0])
def test_connections_that_the_server_has_ended_are_replaced_before_they_are_used(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, sure_seconds: float
):
    """Also those that were used a moment ago, of which the server is not asked."""
    monkeypatch.setattr("transfusion_core.db.engine._SURE_SECONDS", sure_seconds)
    with glance(engine) as one, glance(engine) as other:
        mine = [connection.scalar(text("SELECT pg_backend_pid()")) for connection in (one, other)]
    killer = connect(engine.url.render_as_string(hide_password=False))
    with glance(killer) as connection:
        for pid in mine:
            connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    killer.dispose()
    with glance(engine) as one, unit_of_work(engine) as session:
        pids = [one.scalar(text("SELECT pg_backend_pid()")), session.scalar(text("SELECT pg_backend_pid()"))]
    assert not {*mine}.intersection(pids)


def test_a_glance_takes_no_transaction(engine: Engine):
    """Each statement sees what is committed by then; what takes the connection next has a transaction as ever."""
    with glance(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(Weights)) == 0
        transact(engine, lambda session: insert_weights(session, "seen"))
        assert connection.scalar(select(func.count()).select_from(Weights)) == 1
    with pytest.raises(RuntimeError):
        write_and_break(engine)
    with glance(engine) as connection:
        assert connection.scalars(select(Weights.name)).all() == ["seen"]


def test_a_glance_at_a_database_that_does_not_answer_is_unavailable():
    engine = connect(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/nothing")
    with pytest.raises(Unavailable, match="does not answer"), glance(engine):
        pass
