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
    "weights": {"name": "w", "object": "{}", "created_at": NOW},
    "datasets": {"id": "d1", "name": "d", "version": 1, "spec": "{}", "job_id": "j1", "created_at": NOW},
}  # fmt: skip
"""A row of each table, with the columns that the first version has and needs."""


def _versions() -> list[str]:
    """From the first to the newest."""
    engine = connect("sqlite:///unused.db")
    with_any = ScriptDirectory.from_config(migration_config(engine))  # type: ignore[arg-type] - nothing is asked of it
    return [script.revision for script in with_any.walk_revisions()][::-1]


def _insert(connection: Connection) -> None:
    for table, first in ROWS.items():
        known = {column["name"]: column for column in inspect(connection).get_columns(table)}
        row = first | ({"project": "default"} if "project" in known else {})
        names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        assert set(row) <= set(known)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"), row)


def _counts(connection: Connection) -> dict[str, int]:
    return {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in ROWS}


@pytest.mark.parametrize("version", _versions()[1:])
def test_a_migration_keeps_the_rows_upwards_and_downwards(database_url: str, version: str):
    engine = connect(database_url)
    with engine.begin() as connection:
        command.upgrade(migration_config(connection), "0001")
        _insert(connection)
        full = dict.fromkeys(ROWS, 1)
        command.upgrade(migration_config(connection), version)
        assert _counts(connection) == full
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "-1")
        assert _counts(connection) == full
    migrate(engine)
    with engine.connect() as connection:
        assert _counts(connection) == full
    engine.dispose()


def test_all_the_way_down_and_up_again_with_rows_in_it(database_url: str):
    engine = connect(database_url)
    migrate(engine)
    with engine.begin() as connection:
        _insert(connection)
    with engine.begin() as connection:
        command.downgrade(migration_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    migrate(engine)
    with engine.connect() as connection:
        assert sum(_counts(connection).values()) == 0
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
