"""Three hosts on one network: one is cut off in the middle of its run, and comes back when another has taken it."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

import invariants
from fault_proxy import fault_proxy, through
from hosts import HERE, Host, hosts
from platforms import LONG_FORM, TINY, TRANSFUSION, job_children, stop, until
from service_way import running_service
from transfusion_core.db import jobs
from transfusion_core.db.engine import connect
from transfusion_core.db.experiments import jobs_of
from transfusion_core.db.records import JobRow
from transfusion_core.db.scope import Scope
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

HOSTS, LEASE_SECONDS = 3, 6
ADDRESSES = ("DATABASE_URL", "BROKER_URL", "S3_ENDPOINT_URL")
SPEC: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "seeds": HOSTS,
    "sections": ["performance"],
    "training": {"steps": 160, "eval_every": 80, "batch_size": 16, "checkpoints": 1},
}


class World:
    """A service on this machine, and a worker of one slot on each host."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.hosts = stack.enter_context(hosts(HOSTS))
        self.service = stack.enter_context(running_service())
        self.client = stack.enter_context(self.service.client())
        here = {name: self.service.environment[f"TRANSFUSION_{name}"] for name in ADDRESSES}
        away = {
            f"TRANSFUSION_{name}": through(stack.enter_context(fault_proxy(url, host=HERE)), url)
            for name, url in here.items()
        }
        alone = {"TRANSFUSION_SLOTS": "1", "TRANSFUSION_THREADS_PER_JOB": "1"}
        self._environment = {**os.environ, **self.service.environment, **alone, **away}
        self.engine: Engine = connect(here["DATABASE_URL"])
        stack.callback(self.engine.dispose)
        self.workers = [self._start(stack, host, folder / host.name) for host in self.hosts]

    def _start(self, stack: ExitStack, host: Host, cache: Path) -> subprocess.Popen[bytes]:
        command = host.command(str(TRANSFUSION), "worker", "--queues", "gpu,cpu")
        process = subprocess.Popen(command, env={**self._environment, "TRANSFUSION_CACHE_DIR": str(cache)})
        stack.callback(stop, process)
        return process

    def runs(self, experiment: str) -> list[JobRow]:
        return [row for row, _ in jobs_of(Scope(self.engine), experiment) if row.kind == "train"]

    def at_work(self, experiment: str) -> dict[int, JobRow]:
        """Runs in the middle of their training, by the process id of their worker."""
        rows = [row for row in self.runs(experiment) if row.state == "running" and (row.progress or {}).get("step")]
        return {_process(row.worker): row for row in rows if row.worker}


def _process(worker: str) -> int:
    return int(worker.split(":")[1])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with ExitStack() as stack:
        made = World(stack, tmp_path)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, made.service.environment[name])
        yield made


@LONG_FORM
def test_a_host_that_is_cut_off_and_comes_back_changes_nothing(world: World) -> None:
    made = world.client.experiments.create(SPEC)
    until(lambda: len(world.at_work(made.id)) == HOSTS, "a training on each host", 180)
    lost, host = world.workers[0], world.hosts[0]
    job = world.at_work(made.id)[lost.pid]
    host.cut()
    until(lambda: not job_children(lost.pid), "the child to be ended with its lease", 60)
    until(lambda: _process(jobs.get(world.engine, job.id).worker or "0:0") != lost.pid, "another worker", 180)
    host.mend()
    ended = made.wait(progress=False, timeout_seconds=240)
    assert ended.state == "succeeded", ended.counts
    assert sorted(row.attempt for row in world.runs(made.id)) == [1, 1, 2]
    before = {row.id: row for row in world.runs(made.id)}
    for process in world.workers[1:]:
        stop(process)
    last = world.client.experiments.create({**SPEC, "seeds": 1, "training": {**SPEC["training"], "steps": 4}})
    assert last.wait(progress=False, timeout_seconds=240).state == "succeeded", "by the host that came back"
    assert {row.id: row for row in world.runs(made.id)} == before
    told = world.service.environment
    settings = Settings(store_url=told["TRANSFUSION_STORE_URL"], s3_endpoint_url=told["TRANSFUSION_S3_ENDPOINT_URL"])
    invariants.check(world.engine, open_store(settings), lease_seconds=LEASE_SECONDS, workers=[lost.pid])
