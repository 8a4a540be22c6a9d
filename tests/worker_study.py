"""Whole experiments done by the real job functions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transfusion_core.db import experiments, jobs
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.facts import facts_for
from transfusion_core.db.scope import Scope
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.store import open_store
from transfusion_worker.worker import Worker
from worker_bench import Bench, until


class Study:
    """An experiment that has ended."""

    def __init__(self, bench: Bench, rows: list[jobs.JobRow]) -> None:
        self.bench, self.rows = bench, rows
        self.store = open_store(bench.settings)

    def of_kind(self, kind: str) -> list[jobs.JobRow]:
        return [row for row in self.rows if row.kind == kind]

    def read(self, stored: Any) -> bytes:
        return self.store.get_bytes(StoredObject.model_validate(stored))


@contextmanager
def study_of(body: dict[str, Any], folder: Path) -> Iterator[Study]:
    """Do the experiment of a body, and keep its database open."""
    settings = Settings(
        mode="embedded",
        database_url=f"sqlite:///{folder}/database.db",
        broker_url="memory://localhost",
        store_url=f"file://{folder}/store",
        cache_dir=folder / "cache",
        poll_seconds=0.05,
        device="cpu",
    )
    engine = connect(settings.database_url)
    migrate(engine)
    spec = ExperimentSpec.model_validate({"name": "small", **body})
    created = experiments.create(Scope(engine), expand(spec, facts_for(Scope(engine), body)), name="small")
    worker = Worker(settings, ["cpu", "gpu"])
    worker.start()
    ended = ("succeeded", "failed", "cancelled")
    until(lambda: all(job.state in ended for job, _ in experiments.jobs_of(Scope(engine), created.id)), seconds=200)
    worker.stop()
    yield Study(Bench(engine, settings, folder), [job for job, _ in experiments.jobs_of(Scope(engine), created.id)])
    engine.dispose()
