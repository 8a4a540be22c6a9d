"""Experiments over a store that fails: a real S3 server behind a proxy, a worker in a process of its own, a janitor
that never rests. Each ends right, and equal to the one that nothing disturbed."""

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from platforms import SOAK, until
from stored_world import BODY, World, stored_world
from transfusion_core.db import experiments, jobs
from transfusion_core.db.scope import Scope
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import Store

pytestmark = pytest.mark.faults

STORE_SECONDS = 120.0 if SOAK else 3.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    words = {"STORE_SECONDS": str(STORE_SECONDS), "MAX_CRASHES": "2", "MAX_OUTAGES": "2"}
    with stored_world(tmp_path_factory.mktemp("store"), **words) as made:
        yield made


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
