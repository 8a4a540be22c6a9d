"""Many rows at once, and those that wait for the end of their transaction, so that there are more of them at once."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import JSON, Connection, Insert, Text, bindparam, cast, func, insert, literal_column, select
from sqlalchemy.orm import Session

from transfusion_core.db.tables import AuditEvent, Event, Experiment, ExperimentJob, Table, bare

_AT_ONCE = 1000
"""Rows of one document: some megabytes of jobs, of which the largest experiment has a hundred thousand."""

_WAITING = "transfusion_waiting"
_WAIT: tuple[type[Table], ...] = (Experiment, ExperimentJob, AuditEvent, Event)
"""Tables whose rows may wait, in the order in which they are written."""


def write_rows(connection: Connection, entity: type[Table], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns, in their order; columns that they leave out get the table's defaults.

    PostgreSQL is sent them as documents: row by row, each takes as long as all of them do so.
    """
    if not rows:
        return
    if len(rows) == 1 or connection.dialect.name != "postgresql":
        connection.execute(_insertion(entity), rows)
        return
    for first in range(0, len(rows), _AT_ONCE):
        document = _document(rows[first : first + _AT_ONCE])
        connection.execute(_from_document(entity, tuple(rows[0])), {entity.__tablename__: document})


def write_later(session: Session, entity: type[Table], rows: Iterable[dict[str, Any]]) -> None:
    """Rows, all of the same columns, to be written when this transaction commits."""
    session.info.setdefault(_WAITING, {each: [] for each in _WAIT})[entity].extend(rows)


def write_waiting(session: Session, *, but: type[Table] | None = None) -> None:
    """Write the rows that wait, except those of one table.

    Events are the last of a transaction, after every row lock: who holds the events lock, which PostgreSQL's trigger
    takes, waits for nothing but its commit.
    """
    waiting: dict[type[Table], list[dict[str, Any]]] = session.info.get(_WAITING, {})
    now = {entity: rows for entity, rows in waiting.items() if rows and entity is not but}
    if not now:
        return
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "postgresql" and max(map(len, now.values())) <= _AT_ONCE:
        documents = {entity.__tablename__: _document(rows) for entity, rows in now.items()}
        connection.execute(_from_documents(tuple((entity, tuple(rows[0])) for entity, rows in now.items())), documents)
    else:
        for entity, rows in now.items():
            write_rows(connection, entity, rows)
    for rows in now.values():
        rows.clear()


def _document(rows: Sequence[dict[str, Any]]) -> str:
    return json.dumps(rows, allow_nan=False, default=datetime.isoformat)  # nothing else is written but JSON


@cache
def _insertion(entity: type[Table]) -> Insert:
    return insert(bare(entity))


@cache
def _from_documents(tables: tuple[tuple[type[Table], tuple[str, ...]], ...]) -> Insert:
    """One statement for several tables, the last of which is written by it, and the others on its way."""
    *others, last = (_from_document(entity, columns) for entity, columns in tables)
    return last.add_cte(*(other.cte(f"rows_{number}") for number, other in enumerate(others)))


@cache
def _from_document(entity: type[Table], columns: tuple[str, ...]) -> Insert:
    table = bare(entity)
    document = cast(bindparam(table.name, type_=Text), JSON)
    rows = func.json_populate_recordset(literal_column(f"NULL::{table.name}"), document)
    told = rows.table_valued(*(table.c[name] for name in columns))
    return insert(table).from_select(columns, select(*(told.c[name] for name in columns)))
