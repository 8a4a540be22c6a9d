"""A training that is killed again and again, or whose platform stops, ends bit for bit as its undisturbed twin."""

import json
import os
import random
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import invariants
from platforms import SOAK, TINY, Lasting, embedded, job_children, lasting, training_child, until
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = pytest.mark.faults

KILLS = 4
"""Beside those at `PLACES`; the long form kills fifty runs."""
PLACES = {"step", "checkpoint"}
LONG: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "seeds": 1,
    "sections": ["performance"],
    "image_size": 16,
    "training": {"steps": 100, "eval_every": 20, "batch_size": 16, "checkpoints": 3},
    "cache": "off",
}
"""Every one of these is a run of its own, and all are twins."""
OFTEN = {"TRANSFUSION_RESUME_STEPS": "7", "TRANSFUSION_RETRY_SECONDS": "0.05"}


def _left(client: Client, experiment: str) -> tuple[dict[str, Any], list[str]]:
    """What must be the same of the only run, and its log."""
    _await_success(client, experiment)
    (run,) = client.experiments.runs(experiment)
    return _leaves(client, run.id), list(client.runs.log(run.id))


def _await_success(client: Client, experiment: str) -> None:
    ended = client.experiments.get(experiment).wait(progress=False, timeout_seconds=3600 if SOAK else 240)
    assert ended.state == "succeeded", ended.counts


def _leaves(client: Client, run: str) -> dict[str, Any]:
    checkpoints = {checkpoint.name: checkpoint.sha256 for checkpoint in client.runs.checkpoints(run)}
    curves = {(s.name, s.split): list(zip(s.steps, s.values, strict=True)) for s in client.runs.metrics(run)}
    return {"checkpoints": checkpoints, "curves": curves}


def _bundles(data: Path) -> list[str]:
    """Keys of the bundles of the latest run that the database points at, the newest first."""
    (database,) = data.glob("*.db")
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        rows = connection.execute("SELECT handover FROM jobs WHERE kind = 'train' ORDER BY id DESC LIMIT 1").fetchall()
    return [bundle["object"]["key"] for (row,) in rows if row for bundle in json.loads(row)["bundles"]]


@pytest.fixture(scope="module")
def fallen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where those who die at one of `PLACES` say so: each once, for which a test removes the file of that name."""
    folder = tmp_path_factory.mktemp("fallen")
    for place in PLACES:
        (folder / place).touch()
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, fallen: Path) -> Iterator[Lasting]:
    at_places = {"FAULT": ",".join(f"{place}:kill9" for place in PLACES), "FAULT_ONCE": str(fallen)}
    with lasting(tmp_path_factory.mktemp("platform"), OFTEN | at_places) as made:
        yield made


@pytest.fixture(scope="module")
def undisturbed(shared: Lasting) -> dict[str, Any]:
    with Client(shared.running().url) as client:
        return _left(client, client.experiments.create(LONG).id)[0]


def test_killed_at_random_steps_it_ends_as_its_twin(shared: Lasting, fallen: Path, undisturbed: dict[str, Any]) -> None:
    draw, platform = random.Random(0), shared.running()
    for place in PLACES:
        (fallen / place).unlink()
    with Client(platform.url) as client:
        made = client.experiments.create(LONG)
        kills, known = 0, ""
        while kills < KILLS and not client.experiments.get(made.id).ended:
            # A job that is killed three times without any progress is given up, and rightly so.
            newest = next(iter(_bundles(shared.data)), "")
            children = job_children(platform.process.pid)
            if newest == known or not children:
                time.sleep(0.1)  # each look is a request: the training shares the cores with it
                continue
            known = newest
            time.sleep(draw.uniform(0, 0.3))
            with suppress(ProcessLookupError):
                os.kill(children[0], signal.SIGKILL)
                kills += 1
        left, log = _left(client, made.id)
        assert left == undisturbed
        assert {file.name for file in fallen.iterdir()} == PLACES
        assert len([line for line in log if "continues after step" in line]) >= kills // 2 > 0
        (run,) = client.experiments.runs(made.id)
    _leaves_no_states(shared.data, run.id, unspoken=kills + len(PLACES))


def _leaves_no_states(data: Path, run: str, *, unspoken: int) -> None:
    """No bundle of the run stays but what those killed between storing it and saying so left, one each at most; the
    janitor takes that.
    """

    def states() -> list[Path]:
        return [file for file in (data / "store").rglob("*state-*") if run in str(file)]

    until(lambda: len(states()) <= unspoken, "the removal of its bundles")
    engine, store = connect(f"sqlite:///{data}/transfusion.db"), open_store(Settings(store_url=f"file://{data}/store"))
    invariants.janitor_without_grace(engine, store)()
    engine.dispose()
    assert not states(), "bundles stay behind"


def _caught(shared: Lasting, *, bundles: int = 0) -> str:
    """An experiment in the middle of its training, which has left so many bundles."""
    platform = shared.running()
    with Client(platform.url) as client:
        made = client.experiments.create(LONG)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        until(lambda: len(_bundles(shared.data)) >= bundles, "its bundles")
    return made.id


def test_a_platform_that_stops_in_a_training_goes_on_where_it_was(shared: Lasting, undisturbed: dict[str, Any]) -> None:
    made = _caught(shared)
    with Client(shared.again().url) as client:
        left, log = _left(client, made)
        assert left == undisturbed
        assert any("continues after step" in line for line in log), log


def test_a_damaged_bundle_gives_way_to_the_one_before(shared: Lasting, undisturbed: dict[str, Any]) -> None:
    made = _caught(shared, bundles=2)
    shared.platform.kill()
    _flip(shared.data / "store" / _bundles(shared.data)[0])
    with Client(shared.again().url) as client:
        left, log = _left(client, made)
        assert left == undisturbed
        told = "\n".join(log)
        assert "cannot continue from step" in told
        assert "continues after step" in told


HARMS = ("copy flipped", "shard flipped", "shard gone", "pack and shards gone")


@pytest.mark.parametrize("harm", HARMS if SOAK else HARMS[1:2])
def test_a_run_whose_images_are_damaged_or_lost_when_it_resumes_ends_as_its_twin(
    shared: Lasting, undisturbed: dict[str, Any], harm: str
) -> None:
    """A damaged copy is fetched again. What the store has lost fails the run with the reason, and a retry makes the
    pixels anew, and the pack where that is lost too.
    """
    made = _caught(shared, bundles=2)
    shared.platform.kill()
    _harm(shared.data, harm)
    with Client(shared.again().url) as client:
        if harm != "copy flipped":
            assert client.experiments.get(made).wait(progress=False, timeout_seconds=240).state == "failed"
            (run,) = client.experiments.runs(made)
            assert run.reason == "infrastructure"
            assert ("expected sha256" if harm == "shard flipped" else "there is no object") in (run.error or "")
            client.experiments.retry(made)
        left, log = _left(client, made)
        assert left == undisturbed
        assert any("continues after step" in line for line in log), log


def _harm(data: Path, harm: str) -> None:
    copies = list(data.rglob("pixels/*.bin"))
    if harm == "copy flipped":
        for copy in copies:
            _flip(copy)
        return
    for copy in copies:
        copy.unlink()
    lost = [_shards(data), *([_pack(data)] if harm.startswith("pack") else [])]
    # What another test has harmed is there no more.
    for file in [file for keys in lost for key in keys if (file := data / "store" / key).exists()]:
        if harm == "shard flipped":
            _flip(file)
        else:
            file.unlink()


def _flip(file: Path) -> None:
    changed = bytearray(file.read_bytes())
    changed[len(changed) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(bytes(changed))


def _shards(data: Path) -> list[str]:
    return [shard["object"]["key"] for pixels in _results(data, "pixels") for shard in pixels["shards"]]


def _pack(data: Path) -> list[str]:
    return [piece["key"] for found in _results(data, "ingest") for piece in found["pack"]]


def _results(data: Path, kind: str) -> list[dict[str, Any]]:
    (database,) = data.glob("*.db")
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        rows = connection.execute("SELECT result FROM jobs WHERE kind = ? AND result IS NOT NULL", (kind,)).fetchall()
    return [json.loads(row) for (row,) in rows]


if SOAK:
    FIFTY: dict[str, Any] = {
        **LONG,
        "seeds": 50,
        "training": {"steps": 60, "eval_every": 10, "batch_size": 16, "checkpoints": 3},
    }

    @pytest.mark.timeout(3600)
    def test_fifty_runs_each_killed_once_at_a_random_moment_end_as_their_twins(tmp_path: Path) -> None:
        draw = random.Random(1)
        one_at_a_time = {"TRANSFUSION_SLOTS": "1", "TRANSFUSION_RESUME_STEPS": "5"}
        with embedded(tmp_path / "twin", one_at_a_time) as platform, Client(platform.url) as client:
            made = client.experiments.create(FIFTY)
            _await_success(client, made.id)
            expected = {run.seed: _leaves(client, run.id) for run in client.experiments.runs(made.id)}
        with embedded(tmp_path / "killed", one_at_a_time) as platform, Client(platform.url) as client:
            made = client.experiments.create(FIFTY)
            killed: set[str] = set()
            while not client.experiments.get(made.id).ended:
                running = [run.id for run in client.experiments.runs(made.id) if run.state == "running"]
                children = job_children(platform.process.pid)
                if not children or not running or running[0] in killed:
                    time.sleep(0.02)
                    continue
                time.sleep(draw.uniform(0, 1))
                with suppress(ProcessLookupError):
                    os.kill(children[0], signal.SIGKILL)
                    killed.add(running[0])
            _await_success(client, made.id)
            runs = list(client.experiments.runs(made.id))
            assert {run.seed: _leaves(client, run.id) for run in runs} == expected
            assert sum(run.attempt > 1 for run in runs) >= 45, "kills that came too late"
