"""Experiments over a store that fails: a real S3 server behind a proxy, a worker in a process of its own, a janitor
that never rests. Each ends right, and equal to the one that nothing disturbed."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from platforms import start, stop, until
from s3_faults import Faults, s3_proxy
from s3_server import KEY, SECRET, TOOL, s3_server
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

pytestmark = pytest.mark.faults

SOAK = bool(os.environ.get("TRANSFUSION_SOAK"))
STORE_SECONDS = 120.0 if SOAK else 3.0
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
            for stored in _stored(row.result):
                self.store.get_bytes(stored)
        self.janitor(keep_seconds=0).sweep()
        keys = [listed.key for listed in self.store.list("")]
        assert pointers.unpointed(self.engine, keys) == []

    def janitor(self, *, keep_seconds: float) -> Janitor:
        settings = self.settings.model_copy(update={"keep_unpointed_seconds": keep_seconds})
        return Janitor(self.engine, self.store, settings, now=lambda: datetime.now(UTC) + timedelta(seconds=5))


def _stored(result: Any) -> Iterator[StoredObject]:
    if isinstance(result, dict):
        if "key" in result and "sha256" in result:
            size = result.get("size_bytes", result.get("bytes"))
            yield StoredObject(key=result["key"], size_bytes=size, sha256=result["sha256"])
        for value in result.values():
            yield from _stored(value)
    elif isinstance(result, list):
        for value in result:
            yield from _stored(value)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not TOOL.exists():
        pytest.skip(f"no S3 server to start: {TOOL} is missing")
    folder = tmp_path_factory.mktemp("store")
    with ExitStack() as stack:
        direct = stack.enter_context(s3_server(folder / "s3"))
        faults = Faults()
        environment = _environment(folder, stack.enter_context(s3_proxy(direct, faults)))
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


def _environment(folder: Path, endpoint: str) -> dict[str, str]:
    return {
        "TRANSFUSION_MODE": "embedded",
        "TRANSFUSION_DATABASE_URL": f"sqlite:///{folder}/database.db",
        "TRANSFUSION_BROKER_URL": "memory://localhost",
        "TRANSFUSION_STORE_URL": "s3://trials/v1",
        "TRANSFUSION_S3_ENDPOINT_URL": endpoint,
        "TRANSFUSION_CACHE_DIR": str(folder / "cache"),
        "TRANSFUSION_STORE_SECONDS": str(STORE_SECONDS),
        "TRANSFUSION_POLL_SECONDS": "0.1",
        "TRANSFUSION_SLOTS": "1",
        "TRANSFUSION_THREADS_PER_JOB": "1",
        "TRANSFUSION_MAX_CRASHES": "2",
        "TRANSFUSION_MAX_OUTAGES": "2",
        "TRANSFUSION_RESUME_STEPS": "4",
        "TRANSFUSION_DEVICE": "cpu",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
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


@pytest.fixture(autouse=True)
def _healed(world: World) -> Iterator[None]:
    yield
    world.faults.heal()


def _step(world: World, experiment: str) -> int:
    return int((world.run(experiment).progress or {}).get("step") or 0)


def test_failing_breaking_off_losing_and_cutting_now_and_then_changes_nothing(world: World) -> None:
    faults = world.faults
    faults.errors, faults.truncated, faults.delay_seconds = 0.1, 0.05, 0.01
    faults.lost_answers, faults.cut_uploads, faults.flipped_uploads = 2, 2, 1
    made = world.begin()
    assert world.left(made) == world.twin
    assert {"lost_answers", "cut_uploads", "flipped_uploads"} <= set(+faults.done)
    world.check(made)


def test_a_store_that_is_away_for_a_while_changes_nothing(world: World) -> None:
    made = world.begin()
    until(lambda: world.run(made).state == "running", "the run")
    world.faults.away = True
    timer = threading.Timer(1.0, world.faults.heal)
    timer.start()
    assert world.left(made) == world.twin
    timer.join()
    world.check(made)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("trouble", "told"),
    [({"away": True}, "the store does not answer"), ({"refused": "ExpiredToken"}, "refused our credentials")],
)
def test_a_store_that_stays_away_or_refuses_fails_the_run_with_the_reason_and_a_retry_mends_it(
    world: World, trouble: dict[str, Any], told: str
) -> None:
    for name, value in trouble.items():
        setattr(world.faults, name, value)
    made = world.begin()
    assert world.end(made, seconds=120 + 4 * STORE_SECONDS) == "failed"  # it is given up twice
    failed = world.run(made)
    assert failed.reason == "infrastructure"
    assert told in (failed.error or "")
    assert str(trouble.get("refused", "tried")) in (failed.error or "")
    world.faults.heal()
    experiments.retry(Scope(world.engine), made)
    assert world.left(made) == world.twin
    world.check(made)


@pytest.mark.parametrize("harm", ["newest missing", "all flipped"] if SOAK else ["newest missing"])
def test_bundles_that_are_damaged_while_a_worker_is_down_change_nothing(world: World, harm: str) -> None:
    world.faults.delay_seconds = 0.05  # so that there is time to catch it in the middle
    made = world.begin()
    bundles = until(lambda: len(found := world.bundles(made)) == 2 and found, "two bundles")
    world.restart()
    bundles = world.bundles(made) or bundles
    for bundle in bundles if harm == "all flipped" else bundles[:1]:
        _damage(world.store, bundle, missing=harm == "newest missing")
    world.faults.heal()
    assert world.left(made) == world.twin
    log = "\n".join(jobs.log(world.engine, world.run(made).id))
    if world.run(made).attempt > 1:  # else it had ended before the worker died
        assert "cannot continue from step" in log
        assert ("continues after step" in log) == (harm == "newest missing")
    world.check(made)


def _damage(store: Store, bundle: StoredObject, *, missing: bool) -> None:
    data = store.get_bytes(bundle.key)
    store.delete(bundle.key)
    if not missing:
        store.put_bytes(bundle.key, data[:-1] + bytes([data[-1] ^ 1]))


if SOAK:
    WHOLE: dict[str, Any] = {
        **BODY,
        "sections": ["performance", "movement", "reuse", "convergence"],
        "similarity": {"measures": ["cka"], "images": 20},
    }

    @pytest.mark.timeout(3600)
    def test_whole_experiments_over_a_bad_store_end_as_their_twins(world: World) -> None:
        twin = world.begin(WHOLE)
        expected = world.left(twin)
        world.faults.errors, world.faults.truncated, world.faults.delay_seconds = 0.1, 0.05, 2.0
        world.faults.requests.clear()
        world.faults.done.clear()
        for _ in range(int(os.environ.get("TRANSFUSION_SOAK_ROUNDS", "3"))):
            made = world.begin(WHOLE)
            assert world.end(made, seconds=3000) == "succeeded"
            assert world.left(made) == expected
            world.check(made)
        print(f"{len(world.faults.requests)} requests, of which failed: {dict(world.faults.done)}")
