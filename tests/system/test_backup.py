"""`transfusion backup` and `transfusion restore` of a whole platform, both ways: the same reports, every file right."""

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from platforms import LONG_FORM, TINY, TRANSFUSION, embedded, start, stop, training_child, until
from s3_server import shared_s3
from servers import free_port, postgres_url
from transfusion_client import Client
from transfusion_core.errors import TransfusionError

pytestmark = pytest.mark.system
SPEC: dict[str, Any] = {**TINY, "seeds": 1, "inits": ["random"], "sources": {}, "sections": ["performance"]}
KEY = "tf_admin_of_this_test_and_of_nothing_else"


def run(*arguments: object, environment: dict[str, str] | None = None, code: int = 0) -> str:
    """What a command says."""
    command = [str(TRANSFUSION), *map(str, arguments)]
    words = {**os.environ, **(environment or {})}
    done = subprocess.run(command, capture_output=True, text=True, env=words, timeout=120, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def reports(client: Client) -> dict[str, str]:
    """Every report, word by word, and every page of one."""
    ids = [each.id for each in client.experiments.list()]
    assert ids
    return {
        each: client.experiments.report(each).model_dump_json() + client.experiments.report_html(each) for each in ids
    }


@LONG_FORM
def test_an_embedded_platform_comes_back_from_its_backup(tmp_path: Path) -> None:
    with embedded(tmp_path / "data") as platform, Client(platform.url) as client:
        client.experiments.create(SPEC).wait(progress=False, timeout_seconds=240)
        before = reports(client)
        slow = {**SPEC, "name": "slow", "training": {"steps": 100_000, "batch_size": 16}}
        running = client.experiments.create(slow)
        child = until(lambda: training_child(client, running.id, platform.process.pid), "a training")
        os.kill(child, signal.SIGSTOP)  # it is there all the same, and leaves its core to the commands
        assert "backed up" in run("backup", tmp_path / "backup", "--data", tmp_path / "data")
        said = run("restore", tmp_path / "backup", "--data", tmp_path / "data", code=1)
        assert "another 'transfusion up' is running" in said
        os.kill(child, signal.SIGCONT)
    said = run("backup", tmp_path / "never", "--data", tmp_path / "elsewhere", code=1)
    assert f"there is no platform in {tmp_path}/elsewhere" in said
    assert "whole and readable" in run("restore", tmp_path / "backup", "--dry-run")
    assert "restored" in run("restore", tmp_path / "backup", "--data", tmp_path / "other")
    with embedded(tmp_path / "other") as platform, Client(platform.url) as client:
        until(lambda: _attempt(client, running.id) > 1, "the job that ran to be taken up again")
        client.experiments.cancel(running.id)
        until(lambda: client.experiments.get(running.id).state == "cancelled", "it to stop")
        client.experiments.delete(running.id)
        assert reports(client) == before
        (done,) = client.experiments.list()
        for each in client.experiments.runs(done.id):
            for checkpoint in each.checkpoints:
                client.runs.download(each.id, checkpoint["name"], to=tmp_path / f"{each.id}-{checkpoint['name']}")
    said = run("restore", tmp_path / "backup", "--data", tmp_path / "other", code=1)
    assert "expected an empty database, got rows" in said
    assert "Traceback" not in said
    _tell_of_what_was_lost(tmp_path)


def _tell_of_what_was_lost(folder: Path) -> None:
    run("backup", folder / "partly", "--data", folder / "other")
    (objects,) = (folder / "partly").glob("rows-*/objects.jsonl")
    lost = json.loads(objects.read_text().splitlines()[0])["key"]
    (folder / "other" / "store" / lost).unlink()
    (folder / "partly" / "objects" / lost).unlink()
    said = run("backup", folder / "partly", "--data", folder / "other", code=1)
    assert "backed up" in said
    assert "the rest is backed up; 1 objects that rows point at are gone" in said
    assert lost in said
    assert "1 objects were lost before the backup was made" in run("restore", folder / "partly", "--dry-run")


def _attempt(client: Client, experiment: str) -> int:
    return max((run.attempt for run in client.experiments.runs(experiment)), default=0)


def test_a_service_comes_back_from_its_backup(tmp_path: Path) -> None:
    with ExitStack() as stack:
        endpoint = shared_s3()

        def place(bucket: str) -> dict[str, str]:
            return {
                "TRANSFUSION_DATABASE_URL": stack.enter_context(postgres_url()),
                "TRANSFUSION_STORE_URL": f"s3://{bucket}/v1",
                "TRANSFUSION_S3_ENDPOINT_URL": endpoint,
                "TRANSFUSION_BROKER_URL": "memory://localhost",
                "TRANSFUSION_POLL_SECONDS": "0.2",
                "TRANSFUSION_CACHE_DIR": str(tmp_path / f"cache-{bucket}"),
                "AWS_ACCESS_KEY_ID": "test:tester",
                "AWS_SECRET_ACCESS_KEY": "testing",
            }

        first, second = place("first"), place("second")
        run("migrate", environment=first)
        with_key = first | {"TRANSFUSION_ADMIN_KEY": KEY}
        before = _served(with_key, lambda client: _made(client, with_key))
        assert "backed up" in run("backup", tmp_path / "backup", environment=first)
        assert "restored" in run("restore", tmp_path / "backup", environment=second)
        # No key is given here: the one that was made before the backup is in it.
        assert _served(second, reports) == before


def _made(client: Client, environment: dict[str, str]) -> dict[str, str]:
    worker = start(["worker"], ready=None, environment=environment).process
    try:
        client.experiments.create(SPEC).wait(progress=False, timeout_seconds=240)
    finally:
        stop(worker)
    return reports(client)


def _served(environment: dict[str, str], ask: Any) -> dict[str, str]:
    port = free_port()
    api = start(["api", "--port", str(port)], ready=None, environment=environment).process
    try:
        with Client(f"http://127.0.0.1:{port}", KEY) as client:
            until(lambda: _answers(client), "the API")
            found: dict[str, str] = ask(client)
            return found
    finally:
        stop(api)


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False
