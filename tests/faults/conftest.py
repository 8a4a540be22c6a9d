"""Workers on both kinds of database, in processes that may be killed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

import invariants
from transfusion_core.store import open_store
from worker_bench import Bench, Start, bench_settings, worker_processes

EMBEDDED = {"mode": "embedded", "lease_seconds": 20.0}
SERVICE = {"mode": "service", "lease_seconds": 2.0}


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Bench:
    """A database with its tables, and quick settings: embedded on SQLite, as a service on PostgreSQL."""
    url = engine.url.render_as_string(hide_password=False)
    mode = EMBEDDED if engine.dialect.name == "sqlite" else SERVICE
    settings = bench_settings(tmp_path, url, retry_seconds=0.05, max_crashes=9, **mode)
    return Bench(engine, settings, tmp_path)


@pytest.fixture
def start(bench: Bench) -> Iterator[Start]:
    """Starts workers in processes of their own."""
    with worker_processes(bench) as start_one:
        yield start_one


@pytest.fixture
def check(bench: Bench) -> Callable[..., None]:
    """What holds after every fault."""

    def now(*workers: int) -> None:
        store = open_store(bench.settings)
        invariants.check(bench.engine, store, lease_seconds=bench.settings.lease_seconds, workers=workers)

    return now
