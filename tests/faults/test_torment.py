"""Experiments run while everything is killed at random: each ends, each run is there once and equals its twin."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import invariants
from platforms import SOAK, TINY, Platform, embedded
from tormentor import LEASE_SECONDS, Service, Tormentor, patiently, service
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = pytest.mark.faults

TRIALS = {0: 50, 1: 50, 2: 50, 3: 50} if SOAK else {0: 4}
"""Experiments of each round; the rounds are apart so that each is done in minutes."""
KILLED_PLATFORMS = {0: 25, 1: 25} if SOAK else {0: 2}
DISTINCT = 5 if SOAK else 2
EVERY_SECONDS = 3.0 if SOAK else 0.5
ACTS = None if SOAK else 12
"""Of the tormentor: the short form does each once."""
UNDER_WAY = 8
"""Experiments posted and not ended."""
TIMEOUT_SECONDS = 900 if SOAK else 240


def _spec(number: int, **changes: Any) -> dict[str, Any]:
    """A tiny experiment of one run; those of one number are twins."""
    training = {"steps": 6, "eval_every": 3, "batch_size": 16, "checkpoints": 1, "lr": 1e-3 * (1 + number % DISTINCT)}
    alone = {"inits": ["random"], "sources": {}, "seeds": 1, "sections": ["performance"]}
    return {**TINY, **alone, "name": f"trial {number}", "training": training, **changes}


def _all_end(client: Client, ids: list[str], *, most: int = 0) -> None:
    """Wait until no more than so many of these experiments have not ended."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    left = list(ids)
    while len(left) > most:
        assert time.monotonic() < deadline, f"{len(left)} of {len(ids)} experiments did not end"
        left = [each for each in left if not patiently(lambda each=each: client.experiments.get(each)).ended]
        time.sleep(0.2)


def _trials(client: Client, count: int, seed: int) -> list[str]:
    """Post so many experiments, none of which shares a run with another, a few at a time."""
    made: list[str] = []
    for number in range(count):
        spec = _spec(number, name=f"trial {seed}-{number}", cache="off")
        key = f"{seed}-{number}"
        made.append(patiently(lambda spec=spec, key=key: client.experiments.create(spec, idempotency_key=key)).id)
        _all_end(client, made, most=UNDER_WAY)
    _all_end(client, made)
    return made


def _succeeded_once(client: Client, ids: list[str]) -> None:
    for each in ids:
        experiment = client.experiments.get(each)
        errors = [(run.id, run.reason, run.attempt) for run in experiment.runs() if run.state != "succeeded"]
        assert experiment.state == "succeeded", f"{experiment.counts}: {errors}"
        assert len(list(experiment.runs())) == 1


def _as_their_twins(engine: Engine, trials: int) -> None:
    """`final_weights` sees to it that trainings of one key are one; here they are counted."""
    assert len(invariants.final_weights(engine)) == min(DISTINCT, trials)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", TRIALS)
def test_a_service_whose_parts_die_all_the_time_loses_and_doubles_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    trials = TRIALS[seed]
    with service(tmp_path) as running, running.client() as client:
        twins = [client.experiments.create(_spec(number)).id for number in range(min(DISTINCT, trials))]
        _all_end(client, twins)
        started = time.monotonic()
        with Tormentor(running, seed=seed, every_seconds=EVERY_SECONDS, acts=ACTS) as tormentor:
            made = _trials(client, trials, seed)
        seconds = time.monotonic() - started
        patiently(lambda: _succeeded_once(client, [*twins, *made]))
        _check(running, monkeypatch, trials)
        print(f"\n{trials} experiments in {seconds:.0f} s, {tormentor.kills} kills: {dict(tormentor.done)}")
        record_property("kills", tormentor.kills)


def _check(running: Service, monkeypatch: pytest.MonkeyPatch, trials: int) -> None:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    engine = connect(running.postgres.url())
    store = open_store(Settings())
    janitor = invariants.janitor_without_grace(engine, store)
    invariants.check(engine, store, lease_seconds=LEASE_SECONDS, workers=running.workers(), janitor=janitor)
    _as_their_twins(engine, trials)
    engine.dispose()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", KILLED_PLATFORMS)
def test_a_platform_that_is_killed_whole_again_and_again_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    kills, draw = KILLED_PLATFORMS[seed], random.Random(seed)
    environment = {"TRANSFUSION_RESUME_STEPS": "2", "TRANSFUSION_RETRY_SECONDS": "0.1"}
    ids: list[str] = []
    for number in range(kills):
        with embedded(tmp_path, environment) as platform:
            ids.append(_posted(platform, number))
            time.sleep(draw.uniform(0, 4))
            platform.kill()
    with embedded(tmp_path, environment) as platform, Client(platform.url) as client:
        ids.append(_posted(platform, kills))
        _all_end(client, ids)
        _succeeded_once(client, ids)
        engine = connect(f"sqlite:///{tmp_path}/transfusion.db")
        store = open_store(Settings(store_url=f"file://{tmp_path}/store"))
        janitor = invariants.janitor_without_grace(engine, store)
        invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid], janitor=janitor)
        _as_their_twins(engine, kills + 1)
        engine.dispose()
    print(f"\n{kills} kills of the whole platform, {len(ids)} experiments")


def _posted(platform: Platform, number: int) -> str:
    with Client(platform.url) as client:
        return client.experiments.create(_spec(number, cache="off")).id
