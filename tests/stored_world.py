"""A database, a real S3 server behind a proxy that fails at will, a worker in a process of its own, and a janitor that
never rests.
"""

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from invariants import objects_in
from platforms import start, stop, until
from s3_faults import Faults, s3_proxy
from s3_server import KEY, SECRET, TOOL, shared_s3
from transfusion_core.db import datasets, experiments, jobs, pointers
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.facts import facts_for
from transfusion_core.db.records import JobRow
from transfusion_core.db.scope import Scope
from transfusion_core.janitor import Janitor
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.job import Handover
from transfusion_core.store import Store, open_store

DATASET = DatasetSpec.model_validate(
    {"name": "few", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 120, "size": 24}}
)
BODY: dict[str, Any] = {
    "name": "stored",
    "dataset": "few@1",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 1,
    "image_size": 24,
    "training": {"steps": 24, "eval_every": 6, "batch_size": 8, "checkpoints": 3},
    "sections": ["performance"],
    "cache": "off",
}


class World:
    """A database, a store behind a proxy, and a worker on both."""

    def __init__(self, engine: Engine, settings: Settings, faults: Faults, store: Store) -> None:
        self.engine, self.settings, self.faults = engine, settings, faults
        self.store = store
        """The same store, without the proxy."""
        self.restart: Callable[[], None]
        self.twin: dict[str, Any]

    def begin(self, body: dict[str, Any] = BODY) -> str:
        created = experiments.create(
            Scope(self.engine),
            expand(ExperimentSpec.model_validate(body), facts_for(Scope(self.engine), body)),
            name=body["name"],
        )
        return created.id

    def rows(self, experiment: str) -> list[JobRow]:
        return [job for job, _ in experiments.jobs_of(Scope(self.engine), experiment)]

    def run(self, experiment: str) -> JobRow:
        return next(row for row in self.rows(experiment) if row.kind == "train")

    def end(self, experiment: str, *, seconds: float = 120) -> str:
        ended = ("succeeded", "failed", "cancelled")
        until(lambda: experiments.get(Scope(self.engine), experiment).state in ended, "the experiment", seconds)
        return experiments.get(Scope(self.engine), experiment).state

    def bundles(self, experiment: str) -> list[StoredObject]:
        with self.engine.connect() as connection:
            query = "SELECT handover FROM jobs WHERE id = ?"
            told = connection.exec_driver_sql(query, (self.run(experiment).id,)).scalar()
        return [bundle.object for bundle in Handover.model_validate_json(told or "{}").bundles]

    def left(self, experiment: str) -> dict[str, Any]:
        """What must be the same of every run."""
        assert self.end(experiment) == "succeeded", [(row.kind, row.state, row.error) for row in self.rows(experiment)]
        return {
            str(row.labels): {
                "metrics": row.result["metrics"],
                "checkpoints": {each["name"]: each["sha256"] for each in row.result["checkpoints"]},
                "curves": sorted(map(str, jobs.points(self.engine, row.id))),
            }
            for row in self.rows(experiment)
            if row.kind == "train" and row.result
        }

    def check(self, experiment: str) -> None:
        """Every pointer's object is there and hashes right; after the janitor there is no object without a row."""
        for row in self.rows(experiment):
            for stored in objects_in(row.result):
                self.store.get_bytes(stored)
        self.janitor(keep_seconds=0).sweep()
        keys = [listed.key for listed in self.store.list("")]
        assert pointers.unpointed(self.engine, keys) == []

    def janitor(self, *, keep_seconds: float) -> Janitor:
        settings = self.settings.model_copy(update={"keep_unpointed_seconds": keep_seconds})
        return Janitor(self.engine, self.store, settings, now=lambda: datetime.now(UTC) + timedelta(seconds=5))


@contextmanager
def stored_world(folder: Path, **more: str) -> Iterator[World]:
    """A world whose twin has ended; `more` are settings by their names."""
    if not TOOL.exists():
        pytest.skip(f"no S3 server to start: {TOOL} is missing")
    with ExitStack() as stack:
        direct = shared_s3()
        faults = Faults()
        environment = _environment(folder, stack.enter_context(s3_proxy(direct, faults)), more)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in environment.items():
            patch.setenv(name, value)
        settings = Settings()
        engine = connect(settings.database_url)
        stack.callback(engine.dispose)
        migrate(engine)
        made = World(engine, settings, faults, open_store(settings.model_copy(update={"s3_endpoint_url": direct})))
        datasets.register(Scope(engine), DATASET, ingest_draft(DATASET))
        _keep_a_worker(made, environment, stack)
        made.twin = made.left(made.begin())
        stack.enter_context(_janitor_at_work(made))
        yield made


def _environment(folder: Path, endpoint: str, more: dict[str, str]) -> dict[str, str]:
    return {
        "TRANSFUSION_MODE": "embedded",
        "TRANSFUSION_DATABASE_URL": f"sqlite:///{folder}/database.db",
        "TRANSFUSION_BROKER_URL": "memory://localhost",
        "TRANSFUSION_STORE_URL": f"s3://trials-{secrets.token_hex(4)}/v1",
        "TRANSFUSION_S3_ENDPOINT_URL": endpoint,
        "TRANSFUSION_CACHE_DIR": str(folder / "cache"),
        "TRANSFUSION_POLL_SECONDS": "0.1",
        "TRANSFUSION_SLOTS": "1",
        "TRANSFUSION_THREADS_PER_JOB": "1",
        "TRANSFUSION_RESUME_STEPS": "4",
        "TRANSFUSION_DEVICE": "cpu",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        **{f"TRANSFUSION_{name}": value for name, value in more.items()},
    }


def _keep_a_worker(world: World, environment: dict[str, str], stack: ExitStack) -> None:
    running = [start(["worker"], ready=None, environment=environment).process]

    def restart() -> None:
        running[0].kill()
        stop(running[0])
        running[0] = start(["worker"], ready=None, environment=environment).process

    world.restart = restart
    stack.callback(lambda: stop(running[0]))


@contextmanager
def _janitor_at_work(world: World) -> Iterator[None]:
    """It sweeps all the time and knows no grace but the seconds between an upload and its row."""
    stopping, failed = threading.Event(), []

    def work() -> None:
        while not stopping.wait(1.0):
            try:
                world.janitor(keep_seconds=30).sweep()
            except Exception as error:  # told at the end: a thread's error fails no test
                failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()
    assert failed == []
