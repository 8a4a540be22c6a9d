"""What a job function is given: its spec, what it needs, the store, and a line to its supervisor."""

import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from transfusion_core.errors import DataError
from transfusion_core.faultpoints import faultpoint
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.job import Bundle
from transfusion_core.specs.text import one_line
from transfusion_core.store import Store
from transfusion_core.store.files import digest_of
from transfusion_core.store.protocol import Data
from transfusion_worker import cache
from transfusion_worker.assignment import Assignment, Need

PROGRESS_SECONDS = 0.2
"""Progress is told at most this often: a job may report every step."""

LOG_LINE_MAX = 2000

Tell = Callable[[dict[str, Any]], None]


class CurvePoint(NamedTuple):
    """One value of a curve; None where it does not exist."""

    step: int
    name: str
    split: str
    value: float | None


class JobContext:
    """One attempt at one job, as the job's function sees it."""

    def __init__(
        self, assignment: Assignment, *, settings: Settings, store: Store, tell: Tell, stop: threading.Event
    ) -> None:
        self.assignment, self.settings, self.store = assignment, settings, store
        self.spec: dict[str, Any] = assignment.spec
        self.needs: list[Need] = assignment.needs
        self.job_id, self.attempt, self.device = assignment.job_id, assignment.attempt, assignment.device
        self.threads, self.handover = assignment.threads, assignment.handover
        self.scratch = Path(assignment.scratch)
        """An empty folder; it is removed afterwards, however the job ends."""
        self._tell, self._stop = tell, stop
        self._told_at, self._told_phase = -math.inf, ""

    def need(self, key: str) -> Need:
        """The succeeded job of this key; DataError where this job does not need it or it has no result."""
        for need in self.needs:
            if need.key == key and need.result is not None:
                return need
        raise DataError(f"expected a result of the job with key {key}, got none")

    def need_of(self, kind: str, spec: dict[str, Any]) -> Need:
        """The succeeded job of this kind and spec among those that this job needs, whatever version gave it its key.

        DataError where there is none.
        """
        for need in self.needs:
            if (need.kind, need.spec) == (kind, spec) and need.result is not None:
                return need
        raise DataError(f"expected a result of a job {kind} of {spec}, got none")

    def progress(self, phase: str, *, step: int = 0, steps: int = 0, images_per_second: float | None = None) -> None:
        """Say how far the job is; cheap enough for every step."""
        now = time.monotonic()
        if phase == self._told_phase and step < steps and now - self._told_at < PROGRESS_SECONDS:
            return
        self._told_at, self._told_phase = now, phase
        told = {"phase": phase, "step": step, "steps": steps, "images_per_second": images_per_second}
        self._tell({"progress": told})

    def points(self, points: Iterable[CurvePoint]) -> None:
        """Add to the curves. A value that is not finite is told as None."""
        told = [point._replace(value=_finite(point.value))._asdict() for point in points]
        self._tell({"points": told})

    def hand_over(self, bundle: Bundle) -> None:
        """Say where the next attempt may start, should this one not end."""
        self._tell({"bundle": bundle.model_dump(mode="json")})

    def log(self, line: str) -> None:
        """Add a line to the job's log; it is made one, whatever words of strangers are in it."""
        self._tell({"log": one_line(line, most=LOG_LINE_MAX)})

    def give_up(self, failure: dict[str, Any]) -> NoReturn:
        """End this process here and now, from any thread, and say why the job fails."""
        self._tell({"failure": failure})
        os._exit(1)

    def should_stop(self) -> bool:
        """Whether the job was asked to stop: raise JobCancelled at the next good moment."""
        return self._stop.is_set()

    def fetch(self, stored: StoredObject) -> Path:
        """A local file with an object's bytes. It is shared with other jobs: read it only."""
        return cache.fetch(self.store, stored, cache_dir=self.settings.cache_dir, holder=self)

    @contextmanager
    def keeping(self) -> Iterator[Callable[[Data, str], StoredObject]]:
        """Takes bytes into the store, by a name that this attempt gives once, from any thread.

        Where the block fails none of them stays.
        """
        kept: list[str] = []

        def keep(data: Data, name: str) -> StoredObject:
            key = f"jobs/{self.job_id}/{self.attempt}/{name}"
            kept.append(key)
            faultpoint("upload")
            stored = self.store.put_bytes(key, data)
            faultpoint("uploaded")
            return stored

        try:
            yield keep
        except BaseException:
            for key in kept:
                self.store.delete(key)
            raise

    def put(self, path: Path, name: str) -> StoredObject:
        """Store a file under a key of this attempt and these bytes."""
        faultpoint("upload")
        stored = self.store.put_file(f"jobs/{self.job_id}/{self.attempt}/{digest_of(path)[:16]}-{name}", path)
        faultpoint("uploaded")
        return stored


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
