"""Experiments run while everything is killed at random: each ends, each run is there once and equals its twin."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import invariants
from platforms import SOAK, Platform, embedded
from tormentor import Tormentor, patiently, service
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.settings import Settings
from transfusion_core.store import open_store
from trials import DISTINCT, all_end, as_their_twins, check_service, succeeded_once, trial, trials

pytestmark = pytest.mark.faults

TRIALS = {0: 50, 1: 50, 2: 50, 3: 50} if SOAK else {0: 4}
"""Experiments of each round; the rounds are apart so that each is done in minutes."""
KILLED_PLATFORMS = {0: 25, 1: 25} if SOAK else {0: 2}
EVERY_SECONDS = 3.0 if SOAK else 0.5
ACTS = None if SOAK else 12
"""Of the tormentor: the short form does each once."""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", TRIALS)
def test_a_service_whose_parts_die_all_the_time_loses_and_doubles_nothing(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    count = TRIALS[seed]
    with service(tmp_path) as running, running.client() as client:
        twins = [client.experiments.create(trial(number)).id for number in range(min(DISTINCT, count))]
        all_end(client, twins)
        started = time.monotonic()
        with Tormentor(running, seed=seed, every_seconds=EVERY_SECONDS, acts=ACTS) as tormentor:
            made = trials(client, lambda made: made < count, seed)
        seconds = time.monotonic() - started
        patiently(lambda: succeeded_once(client, [*twins, *made]))
        check_service(running, monkeypatch, count)
        print(f"\n{count} experiments in {seconds:.0f} s, {tormentor.kills} kills: {dict(tormentor.done)}")
        record_property("kills", tormentor.kills)


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
        all_end(client, ids)
        succeeded_once(client, ids)
        engine = connect(f"sqlite:///{tmp_path}/transfusion.db")
        store = open_store(Settings(store_url=f"file://{tmp_path}/store"))
        janitor = invariants.janitor_without_grace(engine, store)
        invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid], janitor=janitor)
        as_their_twins(engine, kills + 1)
        engine.dispose()
    print(f"\n{kills} kills of the whole platform, {len(ids)} experiments")


def _posted(platform: Platform, number: int) -> str:
    with Client(platform.url) as client:
        return client.experiments.create(trial(number, cache="off")).id
