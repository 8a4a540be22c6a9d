"""Whole experiments done by the real job functions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platforms import few_demos
from transfusion_core.db import datasets, experiments, jobs
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.facts import facts_for
from transfusion_core.db.scope import Scope
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.store import open_store
from transfusion_worker.assignment import Need
from transfusion_worker.context import JobContext
from transfusion_worker.jobs import ingest, pixels
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
    for demo in few_demos():
        dataset = DatasetSpec.model_validate(demo)
        datasets.register(Scope(engine), dataset, ingest_draft(dataset))
    spec = ExperimentSpec.model_validate({"name": "small", **body})
    created = experiments.create(Scope(engine), expand(spec, facts_for(Scope(engine), body)), name="small")
    worker = Worker(settings, ["cpu", "gpu"])
    worker.start()
    ended = ("succeeded", "failed", "cancelled")
    until(lambda: all(job.state in ended for job, _ in experiments.jobs_of(Scope(engine), created.id)), seconds=200)
    worker.stop()
    yield Study(Bench(engine, settings, folder), [job for job, _ in experiments.jobs_of(Scope(engine), created.id)])
    engine.dispose()


def needs_of(draft: JobDraft, image_size: int, context_of: Callable[..., JobContext]) -> list[Need]:
    """What a training needs of a dataset: its ingest, and its pixels, done here; `context_of(spec=, needs=)`."""
    found = ingest.run(context_of(spec=draft.spec))
    read = Need(id="1", key=draft.key, kind="ingest", state="succeeded", spec=draft.spec, result=found)
    sized = pixels_draft(draft.key, image_size)
    made = pixels.run(context_of(spec=sized.spec, needs=[read]))
    return [read, Need(id="2", key=sized.key, kind="pixels", state="succeeded", spec=sized.spec, result=made)]
