"""Connections and transactions: how each database is set up, and the one place where a transaction commits."""

import json
import select
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from transfusion_core.db.writing import write_waiting
from transfusion_core.errors import InvalidRequest, Unavailable

_BUSY_TIMEOUT_SECONDS = 30
"""How long a SQLite writer waits for another."""
_POOL: dict[str, Any] = {"pool_size": 10, "max_overflow": 40, "pool_timeout": 10}
"""Connections: kept, more at need, and how many seconds a caller waits for one."""
_SURE_SECONDS = 5.0
"""A connection that was used so lately is asked for a sign of life only where its server has said something since."""
_POSTGRES_OPTIONS = "-c lock_timeout=20s -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
_MIGRATION_LOCK = 7_233_801
"""PostgreSQL advisory lock: one migration at a time."""
EVENTS_LOCK = 7_233_802
"""PostgreSQL advisory lock: held shared from the writing of events to their commit, which a trigger of their table sees
to, alone by who reads them.
"""
_TRIES = 8
_BEGIN = "transfusion_begin"
_TURN = "transfusion_turn"
_TURNS: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""By file: SQLite has one writer at a time, and lets who waits sleep up to 0.1 s between looks. Those of this process
wait here instead, and go on at once.
"""

T = TypeVar("T")


def connect(url: str) -> Engine:
    """An engine for `sqlite:///FILE` or `postgresql+psycopg://...`; nothing is opened yet."""
    parsed = make_url(url)
    serializer = partial(json.dumps, allow_nan=False)
    if parsed.get_backend_name() == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError(f"expected a SQLite file, sqlite:///FILE; got {url!r}")
        engine = create_engine(
            parsed,
            json_serializer=serializer,
            hide_parameters=True,
            **_POOL,
            connect_args={"timeout": _BUSY_TIMEOUT_SECONDS},
            execution_options={_TURN: _TURNS[str(Path(parsed.database).resolve())]},
        )
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    engine = create_engine(
        parsed.update_query_dict({"client_encoding": "utf8"}),  # a server of another one would answer in bytes
        json_serializer=serializer,
        hide_parameters=True,  # errors go into logs, and rows hold names of files
        pool_recycle=1800,
        **_POOL,
        connect_args={"connect_timeout": 5, "options": _POSTGRES_OPTIONS},
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_see_that_it_lives, engine))
    return engine


def observe(engine: Engine, told: Callable[[float], None]) -> None:
    """Tell how many seconds each statement takes."""

    def begin(connection: Connection, *_: Any) -> None:
        connection.info["transfusion_began"] = time.perf_counter()

    def end(connection: Connection, *_: Any) -> None:
        told(time.perf_counter() - connection.info["transfusion_began"])

    event.listen(engine, "before_cursor_execute", begin)
    event.listen(engine, "after_cursor_execute", end)


def _note_use(_connection: Any, record: ConnectionPoolEntry) -> None:
    record.info["transfusion_used"] = time.monotonic()


def _see_that_it_lives(engine: Engine, connection: Any, record: ConnectionPoolEntry, _proxy: Any) -> None:
    """Have a pooled connection, and all others of its age, replaced where its server has gone.

    The pool's own way asks the server each time, which takes as long as the statement that a look is made for. A server
    that hangs up is seen in the socket at once; one that vanished without a word is asked after a pause, as before.
    """
    used = record.info.get("transfusion_used")
    if used is None:
        return
    if not _is_spoken_to(connection) and time.monotonic() - used < _SURE_SECONDS:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _is_spoken_to(connection: Any) -> bool:
    """Whether the server has said something that nobody has read, as it does when it hangs up."""
    if connection.closed:
        return True
    heard = select.poll()
    heard.register(connection.fileno(), select.POLLIN)
    return bool(heard.poll(0))


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN comes too late and is never IMMEDIATE: it is turned off, `_begin_sqlite` begins.
    connection.isolation_level = None
    cursor = connection.cursor()
    _use_wal(cursor)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _use_wal(cursor: Any) -> None:
    # Of several who open a new file at once SQLite refuses this to some without the wait that it was asked for.
    deadline = time.monotonic() + _BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get(_BEGIN, "BEGIN IMMEDIATE")
    if begin is not None:
        connection.exec_driver_sql(begin)


def migrate(engine: Engine) -> None:
    """Bring the schema to the newest version. Several may start at once: one does it, the others wait."""
    with lone_writer(engine) as connection:
        command.upgrade(migration_config(connection), "head")


@contextmanager
def lone_writer(engine: Engine) -> Iterator[Connection]:
    """One transaction that may take as long as it likes; several that want one wait for one another."""
    with _translated(), engine.begin() as connection:
        _take_time(connection)
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
        yield connection


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One transaction that reads for as long as it likes, and sees all of the database at one moment."""
    options: dict[str, Any] = {_BEGIN: "BEGIN"}
    if engine.dialect.name == "postgresql":
        options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    with _translated(), engine.connect().execution_options(**options) as connection, Session(connection) as session:
        _take_time(connection)
        yield session


def _take_time(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        for limit in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(text(f"SET LOCAL {limit} = 0"))


def migration_config(connection: Connection | None) -> Config:
    """Alembic's configuration, for commands on this connection's transaction; None where none is needed."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def ping(engine: Engine) -> None:
    """Raise Unavailable unless the database answers."""
    with unit_of_work(engine, write=False) as session:
        session.execute(text("SELECT 1"))


@contextmanager
def unit_of_work(engine: Engine, *, write: bool = True) -> Iterator[Session]:
    """One short transaction, committed at the end; `write=False` takes no write lock on SQLite.

    A database that does not answer is Unavailable; text that it cannot keep is an InvalidRequest.
    """
    turn = _turn(engine) if write else nullcontext()
    with turn, _translated(), Session(engine, expire_on_commit=False) as session, session.begin():
        session.connection(execution_options={_BEGIN: "BEGIN IMMEDIATE" if write else "BEGIN"})
        yield session
        write_waiting(session)


@contextmanager
def glance(engine: Engine) -> Iterator[Connection]:
    """A connection to read by, each statement for itself: it sees what is committed by then, and holds nothing.

    PostgreSQL is asked once for each, where a transaction, which there sees no more of one moment, begins and ends.
    """
    if engine.dialect.name == "sqlite":
        with _translated(), engine.connect().execution_options(**{_BEGIN: None}) as connection:
            yield connection
        return
    with _translated(), engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.autocommit = True  # its own switch: SQLAlchemy's takes as long as a statement
        try:
            yield connection
        finally:
            if not driver.closed:
                driver.autocommit = False


@contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    lock = engine.get_execution_options().get(_TURN)
    if lock is None:
        yield
        return
    if not lock.acquire(timeout=_BUSY_TIMEOUT_SECONDS):
        raise Unavailable(f"the database does not answer: another writer has it for {_BUSY_TIMEOUT_SECONDS} s")
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise Unavailable(f"the database does not answer: {_first_line(error)}") from error
    except (DataError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidRequest(f"the database cannot keep this: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error).split("\n", maxsplit=1)[0]


def transact(engine: Engine, work: Callable[[Session], T]) -> T:
    """Do work in a unit of work, again where another transaction came between (same unique key, or a deadlock)."""
    for tries_left in reversed(range(_TRIES)):
        try:
            with unit_of_work(engine) as session:
                return work(session)
        except (IntegrityError, Unavailable) as error:
            if tries_left == 0 or not _came_between(error):
                raise
    raise AssertionError("unreachable")


def _came_between(error: Exception) -> bool:
    """Whether a transaction failed only because another one did at the same moment what it did."""
    cause = error.__cause__ if isinstance(error, Unavailable) else error
    return isinstance(cause, IntegrityError) or _sqlstate(cause) in ("40P01", "40001")


def is_away(error: BaseException) -> bool:
    """Whether the database is: not busy with what a transaction asked for, but there for none."""
    return isinstance(error, Unavailable) and (_sqlstate(error.__cause__) or "57P").startswith("57P")


def _sqlstate(cause: BaseException | None) -> str | None:
    state: str | None = getattr(getattr(cause, "orig", None), "sqlstate", None)
    return state
