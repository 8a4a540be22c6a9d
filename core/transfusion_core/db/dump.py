"""All rows of the database into files and back, in the words of neither PostgreSQL nor SQLite.

A row is a line of JSON, so that what one kind of database wrote the other can take. Rows are written from one
transaction, which sees the database as it was at one moment, and are taken back in one, or not at all.
"""

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from alembic import command
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, TableClause, column, func, insert, inspect, select, table, text
from sqlalchemy import Table as SqlTable
from sqlalchemy.orm import Session
from sqlalchemy.types import JSON, NullType, TypeEngine

from transfusion_core.db.clock import UtcDateTime
from transfusion_core.db.engine import lone_writer, migration_config, reading
from transfusion_core.db.tables import Document, Table
from transfusion_core.errors import Conflict, ObjectCorrupt
from transfusion_core.specs.base import Record

ROWS_AT_A_TIME = 1000
ID_JUMP = 1_000_000_000
"""Ids that count go on this much later after a restore: whoever asks for what came after the last event that it saw,
which the restored database may not have, gets all that follows."""
VERSIONS_TABLE = "alembic_version"

Kind = Literal["time", "json", "plain"]
_TYPES: dict[str, TypeEngine[Any]] = {"time": UtcDateTime(), "json": Document, "plain": NullType()}


class DumpedTable(Record):
    """A table in a file: a list per row, its values in the order of the columns."""

    name: str
    columns: dict[str, Kind]
    rows: int


@contextmanager
def snapshot(engine: Engine) -> Iterator[Session]:
    """The database at one moment, for as long as it is read. Conflict unless its tables are of this version."""
    with reading(engine) as session:
        found, newest = _revision(session.connection()), newest_revision()
        if found != newest:
            raise Conflict(
                f"expected tables of revision {newest}, got {found}: run 'transfusion migrate' of this version"
            )
        yield session


def write_rows(session: Session, folder: Path) -> list[DumpedTable]:
    """Every table into a file `NAME.jsonl.gz`; parents come before those that point at them."""
    return [_write(session, each, folder) for each in Table.metadata.sorted_tables]


def _write(session: Session, source: SqlTable, folder: Path) -> DumpedTable:
    kinds = {each.name: _kind(each.type) for each in source.columns}
    rows = 0
    with gzip.open(_file(folder, source.name), "wt", compresslevel=3, encoding="utf-8") as file:
        for row in session.execute(select(source), execution_options={"yield_per": ROWS_AT_A_TIME}):
            file.write(json.dumps([_plain(value) for value in row]) + "\n")
            rows += 1
    return DumpedTable(name=source.name, columns=kinds, rows=rows)


def read_rows(engine: Engine, folder: Path, tables: list[DumpedTable], *, revision: str) -> None:
    """Fill an empty database with the rows that a version of that revision wrote, and bring it to this one.

    Conflict where the database has rows, or where this version does not know the revision.
    """
    check_revision(revision)
    with lone_writer(engine) as connection:
        check_empty(connection)
        config = migration_config(connection)
        if _revision(connection) is not None:  # the tables may be of another revision
            command.downgrade(config, "base")
        command.upgrade(config, revision)
        for dumped in tables:
            _read(connection, folder, dumped)
            _jump(connection, dumped)
        command.upgrade(config, "head")


def _read(connection: Connection, folder: Path, dumped: DumpedTable) -> None:
    target = _clause(dumped)
    rows = 0
    with gzip.open(_file(folder, dumped.name), "rt", encoding="utf-8") as file:
        while lines := list(islice(file, ROWS_AT_A_TIME)):
            connection.execute(insert(target), [_row(json.loads(line), dumped.columns) for line in lines])
            rows += len(lines)
    if rows != dumped.rows:
        raise ObjectCorrupt(f"{_file(folder, dumped.name)}: expected {dumped.rows} rows, got {rows}")


def _clause(dumped: DumpedTable) -> TableClause:
    return table(dumped.name, *(column(name, _TYPES[kind]) for name, kind in dumped.columns.items()))


def _row(values: list[Any], columns: dict[str, Kind]) -> dict[str, Any]:
    return {
        name: datetime.fromisoformat(value) if kind == "time" and value is not None else value
        for (name, kind), value in zip(columns.items(), values, strict=True)
    }


def _jump(connection: Connection, dumped: DumpedTable) -> None:
    """Let a table's own counting go on well after its last row."""
    known = Table.metadata.tables.get(dumped.name)
    if known is None or known.autoincrement_column is None or not dumped.rows:
        return
    target = _clause(dumped)
    last = connection.scalar(select(func.max(target.c[known.autoincrement_column.name])))
    words = {"name": dumped.name, "column": known.autoincrement_column.name, "last": (last or 0) + ID_JUMP}
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT setval(pg_get_serial_sequence(:name, :column), :last)"), words)
    else:
        connection.execute(text("UPDATE sqlite_sequence SET seq = :last WHERE name = :name"), words)


def check_revision(revision: str) -> None:
    """Conflict unless this version knows how tables of that revision look."""
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision not in known:
        raise Conflict(f"expected a revision up to {newest_revision()}, got {revision}: it is of a newer Transfusion")


def check_empty(connection: Connection) -> None:
    """Conflict where any table has a row."""
    for name in inspect(connection).get_table_names():
        if name != VERSIONS_TABLE and connection.execute(select(text("1")).select_from(table(name)).limit(1)).first():
            raise Conflict(f"expected an empty database, got rows in its table {name}")


def newest_revision() -> str:
    """That of this version's tables."""
    return str(_scripts().get_current_head())


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(migration_config(None))


def _kind(of: TypeEngine[Any]) -> Kind:
    if isinstance(of, UtcDateTime):
        return "time"
    return "json" if isinstance(of, JSON) else "plain"


def _plain(value: Any) -> Any:
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.jsonl.gz"
