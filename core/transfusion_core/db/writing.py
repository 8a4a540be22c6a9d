"""Many rows at once."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import JSON, Connection, Insert, Text, bindparam, cast, func, insert, literal_column, select

from transfusion_core.db.tables import Table, bare

_AT_ONCE = 1000
"""Rows of one document: some megabytes of jobs, of which the largest experiment has a hundred thousand."""


def write_rows(connection: Connection, entity: type[Table], rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns, in their order; columns that they leave out get the table's defaults.

    PostgreSQL is sent them as documents: row by row, each takes as long as all of them do so.
    """
    if not rows:
        return
    if len(rows) == 1 or connection.dialect.name != "postgresql":
        connection.execute(insert(bare(entity)), rows)
        return
    for first in range(0, len(rows), _AT_ONCE):
        part = rows[first : first + _AT_ONCE]
        document = json.dumps(part, allow_nan=False, default=datetime.isoformat)  # nothing else is written but JSON
        connection.execute(_from_document(entity, tuple(rows[0])), {"document": document})


@cache
def _from_document(entity: type[Table], columns: tuple[str, ...]) -> Insert:
    table = bare(entity)
    document = cast(bindparam("document", type_=Text), JSON)
    rows = func.json_populate_recordset(literal_column(f"NULL::{table.name}"), document)
    told = rows.table_valued(*(table.c[name] for name in columns))
    return insert(table).from_select(columns, select(*(told.c[name] for name in columns)))
