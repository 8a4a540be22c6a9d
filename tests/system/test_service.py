"""The service way: PostgreSQL, Redis, a real S3 server; migration, API, worker and client in processes of their own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from platforms import TINY, TRANSFUSION, job_children, start, stop, training_child, until
from redis_server import redis_server
from s3_server import s3_server
from servers import free_port, postgres_url
from transfusion_client import Client
from transfusion_core.errors import NotAuthenticated, TransfusionError

pytestmark = pytest.mark.system
KEY = "tf_admin_of_this_test_and_of_nothing_else"


class Service:
    """The parts of a running service."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.environment, self.url = environment, f"http://127.0.0.1:{port}"
        self.port = port

    def start_api(self) -> subprocess.Popen[str]:
        """The REST service in a process of its own."""
        return start(["api", "--port", str(self.port)], ready=None, environment=self.environment).process

    def start_worker(self) -> subprocess.Popen[str]:
        """A worker in a process of its own."""
        return start(["worker", "--queues", "gpu,cpu"], ready=None, environment=self.environment).process

    def client(self) -> Client:
        """A client with the admin key."""
        return Client(self.url, KEY)


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Servers, a migrated database and a running API; no worker."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        port = free_port()
        environment = {
            "TRANSFUSION_DATABASE_URL": stack.enter_context(postgres_url()),
            "TRANSFUSION_BROKER_URL": stack.enter_context(redis_server()),
            "TRANSFUSION_S3_ENDPOINT_URL": stack.enter_context(s3_server(folder / "s3")),
            "TRANSFUSION_STORE_URL": "s3://transfusion/v1",
            "TRANSFUSION_CACHE_DIR": str(folder / "cache"),
            "TRANSFUSION_ADMIN_KEY": KEY,
            "TRANSFUSION_LEASE_SECONDS": "6",
            "TRANSFUSION_BEAT_SECONDS": "1",
            "AWS_ACCESS_KEY_ID": "test:tester",
            "AWS_SECRET_ACCESS_KEY": "testing",
        }
        made = Service(environment, port)
        subprocess.run([str(TRANSFUSION), "migrate"], check=True, env={**os.environ, **environment}, timeout=60)
        api = made.start_api()
        stack.callback(stop, api)
        with made.client() as client:
            until(lambda: _answers(client), "the API")
        yield made


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False


def test_a_spec_becomes_a_report(service: Service) -> None:
    worker = service.start_worker()
    try:
        with service.client() as client:
            experiment = client.experiments.create(TINY).wait(timeout_seconds=240)
            assert experiment.state == "succeeded", experiment.counts
            assert all(section.complete for section in experiment.report().sections.values())
    finally:
        assert stop(worker) == 0


def test_nobody_gets_in_without_a_key(service: Service) -> None:
    with Client(service.url) as client, pytest.raises(NotAuthenticated):
        client.experiments.plan(TINY)


@pytest.mark.faults
def test_a_killed_worker_is_replaced_and_every_run_is_done_once(service: Service) -> None:
    slow: dict[str, Any] = {
        **TINY,
        "name": "slow",
        "inits": ["random"],
        "sources": {},
        "sections": ["performance"],
        "training": {"steps": 60, "eval_every": 30, "batch_size": 16, "checkpoints": 0},
    }
    first = service.start_worker()
    with service.client() as client:
        made = client.experiments.create(slow)
        until(lambda: training_child(client, made.id, first.pid), "a training", 120)
        children = job_children(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        stop(first)
        second = service.start_worker()
        try:
            ended = made.wait(timeout_seconds=240)
            assert ended.state == "succeeded", ended.counts
            assert not any(Path(f"/proc/{pid}").exists() for pid in children), "orphans"
            for run in ended.runs():
                for series in client.runs.metrics(run.id):
                    assert series.steps == sorted(set(series.steps))
        finally:
            stop(second)
