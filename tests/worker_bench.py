"""Jobs and workers for tests of the worker."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from transfusion_core.db import jobs, tables
from transfusion_core.settings import Settings
from transfusion_core.specs.init import Init
from transfusion_core.specs.job import TrainJob
from transfusion_core.specs.training import TrainingSpec
from transfusion_worker.process import warm_up
from transfusion_worker.worker import Worker

KINDS_MODULE = "worker_kinds"
TESTS = Path(__file__).parent
ROOTS = [TESTS, *(TESTS.parent / root for root in ("core", "worker"))]
"""Where a worker's process finds what it imports."""


def until(true: Callable[[], Any], *, seconds: float = 60) -> Any:
    """Ask again and again until it is so; fail at the deadline."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)
    return answer


@dataclass
class Bench:
    """A database with jobs, and workers on it."""

    engine: Engine
    settings: Settings
    folder: Path

    def __post_init__(self) -> None:
        self.count = 0

    def add(self, kind: str, *, queue: str = "cpu", needs: tuple[str, ...] = (), **spec: Any) -> str:
        self.count += 1
        job_id = f"job{self.count}"
        with Session(self.engine) as session, session.begin():
            session.add(
                tables.Job(
                    id=job_id, key=f"{self.count:064x}", kind=kind, queue=queue, spec=spec, labels={}, state="queued"
                )
            )
            session.flush()
            placed = {"from": None, "to": "queued", "attempt": 0, "kind": kind}
            session.add(tables.Event(job_id=job_id, kind="state", data=placed))
            session.add_all(tables.Need(job_id=job_id, need_id=need) for need in needs)
        return job_id

    def add_wait(self, kind: str = "wait", **more: Any) -> str:
        return self.add(kind, go=str(self.folder / "go"), pids=str(self.folder / "pids"), **more)

    def go(self) -> None:
        (self.folder / "go").touch()

    def pid(self, which: int = 0) -> int:
        """The pid of the child of the first, second ... attempt, as soon as it is at work."""
        path = self.folder / "pids"
        lines = until(lambda: path.exists() and (text := path.read_text().split()) and len(text) > which and text)
        return int(lines[which])

    def job(self, job_id: str) -> jobs.JobRow:
        return jobs.get(self.engine, job_id)

    def ended(self, job_id: str, *, seconds: float = 120) -> jobs.JobRow:
        return until(
            lambda: (job := self.job(job_id)).state in ("succeeded", "failed", "cancelled") and job, seconds=seconds
        )

    def change(self, job_id: str, **values: Any) -> None:
        with Session(self.engine) as session, session.begin():
            session.execute(update(tables.Job).where(tables.Job.id == job_id).values(**values))

    def worker(self, queues: tuple[str, ...] = ("cpu", "gpu"), **changes: Any) -> Worker:
        # One fork server serves all tests of this process, with what the first of them asks for: with `worker_kinds`
        # alone each job of a whole study that comes later would import torchvision and timm for itself, for seconds.
        warm_up()
        return Worker(self.settings.model_copy(update=changes), queues, kinds_module=KINDS_MODULE)


def bench_settings(folder: Path, database_url: str, **changes: Any) -> Settings:
    """Settings of workers that are quick about everything."""
    return Settings(
        mode="embedded",
        database_url=database_url,
        broker_url="memory://localhost",
        store_url=f"file://{folder}/store",
        cache_dir=folder / "cache",
        poll_seconds=0.05,
        lease_seconds=6,
        beat_seconds=0.3,
        grace_seconds=5,
        slots=2,
        threads_per_job=1,
        device="cpu",
    ).model_copy(update=changes)


def train_job(room: int) -> dict[str, Any]:
    """The spec of a training of `worker_kinds`, for which memory is enough for `room` images at a time."""
    job = TrainJob(
        dataset="0" * 64, model="cbr-tiny", init=Init(kind="random"), train_size="all", seed=room, image_size=24,
        training=TrainingSpec(batch_size=32),
    )  # fmt: skip
    return job.model_dump(mode="json")


Start = Callable[..., "subprocess.Popen[bytes]"]


@contextmanager
def worker_processes(bench: Bench) -> Iterator[Start]:
    """Starts workers in processes of their own: `start(environment={...}, SETTING=...)`; the rest is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start_one(*, environment: dict[str, str] | None = None, **changes: Any) -> "subprocess.Popen[bytes]":
        settings = bench.settings.model_copy(update=changes).model_dump(mode="json", exclude_none=True)
        roots = os.pathsep.join(map(str, ROOTS))
        with (bench.folder / "workers.log").open("a") as log:
            command = [sys.executable, str(TESTS / "worker_processes.py"), json.dumps(settings)]
            whole = os.environ | {"PYTHONPATH": roots} | (environment or {})
            started.append(subprocess.Popen(command, env=whole, stderr=log))
        return started[-1]

    try:
        yield start_one
    finally:
        for process in started:
            process.kill()
            process.wait()


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
