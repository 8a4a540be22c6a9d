"""Jobs and workers for tests of the worker."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, update
from sqlalchemy.orm import Session

from transfusion_core.db import jobs, tables
from transfusion_core.settings import Settings
from transfusion_worker.worker import Worker

KINDS_MODULE = "worker_kinds"


def until(true: Callable[[], Any], *, seconds: float = 30) -> Any:
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

    def ended(self, job_id: str, *, seconds: float = 40) -> jobs.JobRow:
        return until(
            lambda: (job := self.job(job_id)).state in ("succeeded", "failed", "cancelled") and job, seconds=seconds
        )

    def change(self, job_id: str, **values: Any) -> None:
        with Session(self.engine) as session, session.begin():
            session.execute(update(tables.Job).where(tables.Job.id == job_id).values(**values))

    def worker(self, queues: tuple[str, ...] = ("cpu", "gpu"), **changes: Any) -> Worker:
        return Worker(self.settings.model_copy(update=changes), queues, kinds_module=KINDS_MODULE)


def is_running(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
