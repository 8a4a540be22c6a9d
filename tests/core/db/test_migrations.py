"""Every migration goes up and down on both databases, with rows in it, and takes none of them with it."""

from typing import Any

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from transfusion_core.db.engine import connect, migrate, migration_config

NOW = "2026-01-01T00:00:00.000Z"
ROWS = {
    "jobs": {
        "id": "j1", "key": "k", "kind": "train", "queue": "gpu", "spec": "{}", "labels": "{}", "state": "queued",
        "turn": 0, "needs_success": True, "shared": True, "attempt": 0, "crashes": 0, "cancel_requested": False,
        "created_at": NOW,
    },
    "experiments": {
        "id": "e1", "name": "n", "dataset": "d@1", "spec": "{}", "digest": "d", "created_at": NOW,
    },
    "experiment_jobs": {"experiment_id": "e1", "job_id": "j1", "ordinal": 0, "labels": "{}"},
    "events": {"at": NOW, "job_id": "j1", "kind": "state", "data": "{}"},
    "points": {"job_id": "j1", "attempt": 1, "name": "loss", "split": "train", "step": 1, "value": 0.5},
    "log_lines": {"job_id": "j1", "attempt": 1, "line": "l"},
    "needs": {"job_id": "j1", "need_id": "j1"},
    "weights": {"name": "w", "object": "{}", "created_at": NOW},
    "datasets": {"id": "d1", "name": "d", "version": 1, "spec": "{}", "job_id": "j1", "created_at": NOW},
    "comparisons": {"id": "j1", "a": "r@init", "b": "r@final", "created_at": NOW},
    "uploads": {
        "id": "u1", "filename": "f.zip", "size_bytes": 1, "key": "uploads/u1", "state": "waiting", "created_at": NOW,
    },
    "idempotent_answers": {"key": "k", "route": "r", "body_digest": "d", "answer": "{}", "created_at": NOW},
    "api_keys": {"id": "a1", "name": "n", "role": "read", "secret_digest": "d", "created_at": NOW},
    "web_sessions": {"digest": "d", "key_id": "a1", "expires_at": NOW},
    "audit_events": {"id": "v1", "at": NOW, "actor": "a1", "project": "default", "action": "a", "subject": "s"},
    "secrets": {"name": "n", "value": "v"},
    "removals": {"id": "m1", "kind": "dataset", "name": "d@1", "places": "[]", "created_at": NOW},
    "removed_objects": {"removal_id": "m1", "key": "packs/1", "size_bytes": 1},
    "chores": {"name": "sweep", "begun_at": NOW},
    "workers": {"name": "w1", "found": "{}", "started_at": NOW, "seen_at": NOW},
}  # fmt: skip
"""A row of each table, with the columns that its first version has and needs."""
LATER = {"project": "default", "part_bytes": 1 << 23}
"""Columns that some tables need since a later version."""
Kept = dict[str, list[dict[str, Any]]]


def _versions() -> list[str]:
    """From the first to the newest."""
    engine = connect("sqlite:///unused.db")
    with_any = ScriptDirectory.from_config(migration_config(engine))  # type: ignore[arg-type] - nothing is asked of it
    return [script.revision for script in with_any.walk_revisions()][::-1]


def _fill(connection: Connection) -> Kept:
    """Put a row into each table that is there and has none; all rows of all tables."""
    there = inspect(connection)
    for table, first in ROWS.items():
        if table not in there.get_table_names() or _rows(connection, table):
            continue
        known = {column["name"] for column in there.get_columns(table)}
        row = {name: value for name, value in LATER.items() if name in known} | first
        names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        assert set(row) <= known
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)
    return _kept(connection)


def _kept(connection: Connection) -> Kept:
    return {table: _rows(connection, table) for table in ROWS if table in inspect(connection).get_table_names()}


def _rows(connection: Connection, table: str) -> list[dict[str, Any]]:
    # By their names: PostgreSQL keeps the plan of a statement, and `*` would then stand for other columns.
    names = ", ".join(column["name"] for column in inspect(connection).get_columns(table))
    return [dict(row) for row in connection.execute(text(f"SELECT {names} FROM {table}")).mappings()]


def _in_common(here: Kept, there: Kept) -> Kept:
    """What is here of the tables and columns that are there too."""
    return {
        table: [{name: value for name, value in row.items() if name in there[table][0]} for row in rows]
        for table, rows in here.items()
        if table in there
    }


def _check_kept(before: Kept, after: Kept) -> None:
    assert all(after[table] for table in before)
    assert _in_common(before, after) == _in_common(after, before)


def test_a_row_of_every_table_is_tried(database_url: str):
    engine = connect(database_url)
    migrate(engine)
    with engine.begin() as connection:
        assert {*inspect(connection).get_table_names()} == {"alembic_version", *ROWS}
        assert all(_fill(connection).values())
    engine.dispose()


@pytest.mark.parametrize("version", _versions()[1:])
def test_a_migration_keeps_the_rows_upwards_and_downwards(database_url: str, version: str):
    engine = connect(database_url)
    with engine.begin() as connection:
        command.upgrade(migration_config(connection), version)
        command.downgrade(migration_config(connection), "-1")
        before = _fill(connection)
        command.upgrade(migration_config(connection), version)
        _check_kept(before, _kept(connection))
        _fill(connection)
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "-1")
        assert _kept(connection) == before
    migrate(engine)
    with engine.connect() as connection:
        _check_kept(before, _kept(connection))
    engine.dispose()


def test_rows_of_the_first_version_climb_to_the_newest_and_down_again(database_url: str):
    """One version after the other, with rows in the tables that each brings."""
    engine = connect(database_url)
    with engine.begin() as connection:
        command.upgrade(migration_config(connection), "0001")
        stood = [_fill(connection)]
        for version in _versions()[1:]:
            command.upgrade(migration_config(connection), version)
            _check_kept(stood[-1], _kept(connection))
            stood.append(_fill(connection))
        assert stood[-1].keys() == ROWS.keys()
        for lower in stood[-2::-1]:
            command.downgrade(migration_config(connection), "-1")
            assert _kept(connection) == lower
    engine.dispose()


def test_all_the_way_down_and_up_again_with_rows_in_it(database_url: str):
    engine = connect(database_url)
    migrate(engine)
    with engine.begin() as connection:
        _fill(connection)
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate(engine)
    with engine.connect() as connection:
        assert not any(_kept(connection).values())
    engine.dispose()


def test_trainings_of_before_keep_the_gpus_that_their_specs_ask_for(database_url: str):
    engine = connect(database_url)
    specs = {"four": '{"training": {"gpus": 4}}', "one": '{"training": {"lr": 0.1}}', "look": '{"b": {"gpus": 4}}'}
    with engine.begin() as connection:
        command.upgrade(migration_config(connection), "0009")
        for job_id, spec in specs.items():
            row = ROWS["jobs"] | {"id": job_id, "key": job_id, "spec": spec}
            names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO jobs ({names}) VALUES ({values})"), row)
    migrate(engine)
    with engine.connect() as connection:
        assert dict(connection.execute(text("SELECT id, gpus FROM jobs")).all()) == {"four": 4, "one": 1, "look": 1}
    engine.dispose()


@pytest.mark.parametrize("version", [version for version in _versions() if version > "0009"])
def test_processes_of_the_version_before_can_read_and_write_the_new_tables(database_url: str, version: str):
    """While a service is upgraded they go on: nothing that they know has gone, and what is new asks nothing of them."""
    engine = connect(database_url)
    with engine.begin() as connection:
        command.upgrade(migration_config(connection), version)
        command.downgrade(migration_config(connection), "-1")
        before = _columns(connection)
        command.upgrade(migration_config(connection), version)
        after = _columns(connection)
    assert set(before) <= set(after)
    asked = [name for name in set(after) - set(before) if not (after[name]["nullable"] or after[name]["default"])]
    assert asked == []
    engine.dispose()


def _columns(connection: Connection) -> dict[tuple[str, str], Any]:
    found = inspect(connection)
    return {(table, each["name"]): each for table in found.get_table_names() for each in found.get_columns(table)}
