import threading
from pathlib import Path

import pytest

from transfusion_core.db.engine import connect, migrate
from transfusion_core.settings import Settings
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment, open_settings
from transfusion_worker.context import JobContext
from worker_bench import Bench, bench_settings
from worker_service import platform_of


@pytest.fixture
def bench(tmp_path: Path):
    settings = bench_settings(tmp_path, f"sqlite:///{tmp_path}/database.db")
    engine = connect(settings.database_url)
    migrate(engine)
    yield Bench(engine, settings, tmp_path)
    engine.dispose()


@pytest.fixture
def platform(bench: Bench):
    """An API and a worker in this process."""
    with platform_of(bench) as made:
        yield made


@pytest.fixture
def working(bench: Bench):
    """A worker at work; what it left behind is asked about afterwards."""
    worker = bench.worker()
    worker.start()
    yield worker
    worker.stop(0)
    assert not list((bench.settings.cache_dir / "scratch").glob("*/*")), "scratch folders stay behind"


@pytest.fixture
def make(tmp_path):
    """A context on a folder store, and what it told."""
    (tmp_path / "scratch").mkdir()

    def make_one(*, needs=(), spec=None, **changes) -> JobContext:
        settings = Settings(**{"store_url": f"file://{tmp_path}/store", "cache_dir": tmp_path / "cache", **changes})
        assignment = Assignment(
            job_id="1",
            attempt=1,
            kind="train",
            spec=spec or {},
            needs=list(needs),
            settings=open_settings(settings),
            scratch=str(tmp_path / "scratch"),
            device="cpu",
            threads=1,
        )
        told = []
        context = JobContext(
            assignment, settings=settings, store=open_store(settings), tell=told.append, stop=threading.Event()
        )
        context.told = told
        return context

    return make_one
