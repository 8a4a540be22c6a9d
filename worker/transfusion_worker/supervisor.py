"""One attempt at one job, seen from its supervisor: child, lease, messages, and what came of it.

The supervisor holds no database session while the child works. Whatever it writes is fenced by the attempt: once
another worker owns the job, it kills its child and writes nothing.
"""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from transfusion_core.db import jobs
from transfusion_core.errors import Fenced, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.specs.job import TrainJob
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.forgetting import Forgetting
from transfusion_worker.lease import Lease
from transfusion_worker.liveness import scratch_folder
from transfusion_worker.mailbox import Mailbox
from transfusion_worker.process import KINDS_MODULE, Child

TICK_SECONDS = 0.25
WRITE_SECONDS = 0.5
"""Points and log lines are written at most this often."""
WATCHFUL_BEAT_SECONDS = 1.0
"""Embedded, where a beat costs nothing, a cancel is noticed this fast."""
HANG_SECONDS = {"train": 600.0}
"""A child of these kinds that says nothing for so long hangs; the others have long silent stretches."""
DUMP_SECONDS = 1.0
"""Given to a hanging child to print its stacks before it is killed."""
DATABASE_AWAY = (Unavailable, SQLAlchemyError)

_log = logging.getLogger(__name__)


class End(Enum):
    """Why a supervisor wants its child to end before the job is done."""

    CANCEL = "cancel"
    RELEASE = "release"
    FENCED = "fenced"
    LEASE = "lease"
    HANG = "hang"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a slot gives to a job."""

    device: str
    threads: int


class Supervisor:
    """Does one claimed job. `run` belongs to one thread; `stop`, `kill` and `enforce_lease` may come from any."""

    def __init__(
        self,
        engine: Engine,
        claimed: jobs.ClaimedJob,
        *,
        settings: Settings,
        resources: Resources,
        claimed_at: float,
        kinds_module: str = KINDS_MODULE,
    ) -> None:
        self._engine, self._claimed, self._settings = engine, claimed, settings
        self._resources, self._kinds_module = resources, kinds_module
        self._lease = Lease(settings.lease_seconds, since=claimed_at)
        self._mail = Mailbox(claimed.handover)
        self._end: End | None = None
        self._kill_at: float | None = None
        self._beaten_at, self._written_at, self._heard_at = claimed_at, claimed_at, time.monotonic()
        self._child: Child | None = None
        self._stopping = threading.Event()
        self._forgetting = Forgetting(settings)

    @property
    def job_id(self) -> str:
        """The job that is being done."""
        return self._claimed.id

    def run(self) -> list[str]:
        """Do the job; the queues where others can start now. What went wrong with it stands in its row."""
        try:
            with self._scratch() as scratch:
                child = Child(self._assignment(scratch), kinds_module=self._kinds_module)
                self._child = child
                try:
                    self._watch(child)
                finally:
                    child.close()
                return self._write_down(child)
        except Fenced:
            _log.warning("job %s attempt %d is another worker's by now", self._claimed.id, self._claimed.attempt)
            return []
        finally:
            self._forgetting.close()

    def stop(self) -> None:
        """Give the job back: the worker shuts down."""
        self._stopping.set()

    def kill(self) -> None:
        """End the child at once."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    def enforce_lease(self) -> None:
        """Kill the child when the lease is over, even while `run` hangs in a call to the database."""
        if self._lease.is_over() and self._child is not None:
            self._child.kill()

    def _watch(self, child: Child) -> None:
        while True:
            ended = child.ended()  # before the last look into the pipe
            for message in child.messages(timeout_seconds=0 if ended else TICK_SECONDS):
                self._heard_at = time.monotonic()
                self._mail.take(message)
            if ended:
                return
            try:
                self._tend(child)
            except Fenced:
                self._end = End.FENCED
                raise
            except DATABASE_AWAY as error:
                _log.warning("job %s: the database does not answer: %s", self._claimed.id, error)

    def _tend(self, child: Child) -> None:
        """Everything that is due by the clock."""
        now = time.monotonic()
        self._look_for_an_end(child, now)
        if self._end and self._kill_at is not None and now >= self._kill_at:
            child.kill()
        if now - self._written_at >= WRITE_SECONDS:
            self._written_at = now
            self._write_mail()
        if now - self._beaten_at >= self._beat_seconds():
            self._beaten_at = now
            self._beat(child)

    def _look_for_an_end(self, child: Child, now: float) -> None:
        if self._lease.is_over():
            self._end, self._kill_at = End.LEASE, now
        elif self._end is not None:
            return
        elif self._stopping.is_set():
            self._ask(child, End.RELEASE)
        elif now - self._heard_at > HANG_SECONDS.get(self._claimed.kind, float("inf")):
            child.dump_stacks()
            self._end, self._kill_at = End.HANG, now + DUMP_SECONDS

    def _beat(self, child: Child) -> None:
        sent_at = time.monotonic()
        beat = jobs.beat(
            self._engine,
            self._claimed.id,
            self._claimed.attempt,
            lease_seconds=self._settings.lease_seconds,
            progress=self._mail.progress,
        )
        self._lease.extended(since=sent_at)
        if beat.cancel_requested and self._end is None:
            self._ask(child, End.CANCEL)

    def _ask(self, child: Child, end: End) -> None:
        self._end, self._kill_at = end, time.monotonic() + self._settings.grace_seconds
        child.ask_to_stop()

    def _beat_seconds(self) -> float:
        beat = self._settings.beat_seconds
        return min(beat, WATCHFUL_BEAT_SECONDS) if self._settings.mode == "embedded" else beat

    def _write_down(self, child: Child) -> list[str]:
        """Write what came of the job, again and again while the lease lasts if the database is away."""
        while not self._lease.is_over():
            try:
                return self._try_to_write_down(child)
            except DATABASE_AWAY as error:
                _log.warning("job %s: its end cannot be written yet: %s", self._claimed.id, error)
                self._stopping.wait(WRITE_SECONDS)
                time.sleep(TICK_SECONDS)
        _log.warning("job %s: the lease is over, nothing was written", self._claimed.id)
        return []

    def _try_to_write_down(self, child: Child) -> list[str]:
        engine, job_id, attempt = self._engine, self._claimed.id, self._claimed.attempt
        mail = self._mail
        self._write_mail()
        if mail.result is None and mail.failure is None:
            return self._write_down_death(child)
        if mail.result is not None:
            queues = jobs.succeed(engine, job_id, attempt, mail.result)
            self._forgetting.forget(mail.handover.bundles)
            return queues
        assert mail.failure is not None
        reason, error = mail.failure["reason"], mail.failure["error"]
        if reason == "cancelled":
            return self._write_down_stop(error)
        if reason == "out_of_memory" and self._take_smaller_parts():
            return jobs.release(engine, job_id, attempt)
        if reason == "infrastructure":
            return jobs.crash(engine, job_id, attempt, max_crashes=self._settings.max_crashes, error=error)
        return jobs.fail(engine, job_id, attempt, reason=reason, error=error, detail=mail.failure["detail"])

    def _write_mail(self) -> None:
        """Write what the child said, then remove the bundles that no row names any more."""
        self._forgetting.forget(self._mail.write(self._engine, self._claimed.id, self._claimed.attempt))

    def _take_smaller_parts(self) -> bool:
        """Have the next attempt take its batches in smaller parts, in a fresh process; False where it cannot."""
        if self._claimed.kind != "train":
            return False
        batch_size = TrainJob.read(self._claimed.spec).training.batch_size
        halved = self._mail.handover.halved(batch_size)
        if halved is None:
            return False
        jobs.hand_over(self._engine, self._claimed.id, self._claimed.attempt, halved)
        line = (
            f"out of memory: the next attempt takes {halved.micro_batch(batch_size)} images of {batch_size} at a time"
        )
        jobs.add_log(self._engine, self._claimed.id, self._claimed.attempt, [line])
        return True

    def _write_down_stop(self, error: str) -> list[str]:
        """The child stopped because it was asked to, or says so."""
        engine, job_id, attempt = self._engine, self._claimed.id, self._claimed.attempt
        if self._end is End.CANCEL:
            return jobs.cancelled(engine, job_id, attempt)
        if self._end is End.RELEASE:
            return jobs.release(engine, job_id, attempt)
        return jobs.fail(engine, job_id, attempt, reason="bug", error=f"nobody asked it to stop: {error}", detail=None)

    def _write_down_death(self, child: Child) -> list[str]:
        """The child died without a word."""
        engine, job_id, attempt = self._engine, self._claimed.id, self._claimed.attempt
        if self._end in (End.CANCEL, End.RELEASE) or self._stopping.is_set():
            self._end = self._end or End.RELEASE
            return self._write_down_stop(child.death())
        self._mail.lines += child.output()
        self._write_mail()
        told = (
            f"no sign of life for {HANG_SECONDS[self._claimed.kind]:.0f} s" if self._end is End.HANG else child.death()
        )
        return jobs.crash(engine, job_id, attempt, max_crashes=self._settings.max_crashes, error=told)

    def _assignment(self, scratch: Path) -> Assignment:
        claimed = self._claimed
        return Assignment(
            job_id=claimed.id,
            attempt=claimed.attempt,
            kind=claimed.kind,
            spec=claimed.spec,
            needs=[_need(need) for need in claimed.needs],
            settings=open_settings(self._settings),
            scratch=str(scratch),
            device=self._resources.device,
            threads=self._resources.threads,
            handover=claimed.handover,
        )

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of this attempt; here and not in the child, since a killed child removes nothing."""
        parent = scratch_folder(self._settings.cache_dir)
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{self._claimed.id}-", dir=parent))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _need(need: jobs.NeededJob) -> Need:
    return Need(
        id=need.id,
        key=need.key,
        kind=need.kind,
        state=need.state,
        spec=need.spec,
        result=need.result,
        reason=need.reason,
        error=need.error,
    )
