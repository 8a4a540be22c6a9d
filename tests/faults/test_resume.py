"""A training that is killed again and again, or whose platform stops, ends bit for bit as its undisturbed twin."""

import json
import os
import random
import signal
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from platforms import TINY, embedded, job_children, training_child, until
from transfusion_client import Client

pytestmark = pytest.mark.faults

KILLS = 6
LONG: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "seeds": 1,
    "sections": ["performance"],
    "training": {"steps": 200, "eval_every": 20, "batch_size": 16, "checkpoints": 3},
}
OFTEN = {"TRANSFUSION_RESUME_STEPS": "7"}


def _left(client: Client, experiment: str) -> tuple[dict[str, Any], list[str]]:
    """What must be the same of the only run, and its log."""
    ended = client.experiments.get(experiment).wait(progress=False, timeout_seconds=240)
    assert ended.state == "succeeded", ended.counts
    (run,) = client.experiments.runs(experiment)
    checkpoints = {checkpoint.name: checkpoint.sha256 for checkpoint in client.runs.checkpoints(run.id)}
    curves = {(s.name, s.split): list(zip(s.steps, s.values, strict=True)) for s in client.runs.metrics(run.id)}
    return {"checkpoints": checkpoints, "curves": curves}, list(client.runs.log(run.id))


def _bundles(data: Path) -> list[str]:
    """Keys of the bundles that the database points at, the newest first."""
    (database,) = data.glob("*.db")
    with closing(sqlite3.connect(database, timeout=10)) as connection:
        rows = connection.execute("SELECT handover FROM jobs WHERE kind = 'train'").fetchall()
    return [bundle["object"]["key"] for (row,) in rows if row for bundle in json.loads(row)["bundles"]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with embedded(tmp_path_factory.mktemp("twin")) as platform, Client(platform.url) as client:
        return _left(client, client.experiments.create(LONG).id)[0]


def test_killed_at_random_steps_it_ends_as_its_twin(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    draw = random.Random(0)
    with embedded(tmp_path, OFTEN) as platform, Client(platform.url) as client:
        made = client.experiments.create(LONG)
        kills, known = 0, ""
        while kills < KILLS and not client.experiments.get(made.id).ended:
            # A job that is killed three times without any progress is given up, and rightly so.
            newest = next(iter(_bundles(tmp_path)), "")
            children = job_children(platform.process.pid)
            if newest == known or not children:
                time.sleep(0.02)
                continue
            known = newest
            time.sleep(draw.uniform(0, 0.3))
            with suppress(ProcessLookupError):
                os.kill(children[0], signal.SIGKILL)
                kills += 1
        left, log = _left(client, made.id)
        assert left == undisturbed
        assert len([line for line in log if "continues after step" in line]) >= kills // 2 > 0
        assert not list((tmp_path / "store").rglob("*state-*")), "bundles stay behind"


def test_a_platform_that_stops_in_a_training_goes_on_where_it_was(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        made = client.experiments.create(LONG)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        left, log = _left(client, made.id)
        assert left == undisturbed
        assert any("continues after step" in line for line in log), log


def test_a_damaged_bundle_gives_way_to_the_one_before(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    with embedded(tmp_path, OFTEN) as platform, Client(platform.url) as client:
        made = client.experiments.create(LONG)
        until(lambda: training_child(client, made.id, platform.process.pid), "a training")
        until(lambda: len(_bundles(tmp_path)) == 2, "two bundles")
        platform.kill()
    newest = tmp_path / "store" / _bundles(tmp_path)[0]
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.chmod(0o600)
    newest.write_bytes(bytes(data))
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        left, log = _left(client, made.id)
        assert left == undisturbed
        told = "\n".join(log)
        assert "cannot continue from step" in told
        assert "continues after step" in told
