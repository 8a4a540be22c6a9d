"""One attempt at one job, seen from its supervisor: child, lease, messages, and what came of it.

The supervisor holds no database session while the child works. Whatever it writes is fenced by the attempt: once
another worker owns the job, it kills its child and writes nothing.
"""

import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from transfusion_core.db import jobs
from transfusion_core.errors import Fenced, Unavailable
from transfusion_core.settings import Settings
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.ending import End, Ending
from transfusion_worker.forgetting import Forgetting
from transfusion_worker.lease import Lease
from transfusion_worker.liveness import scratch_folder
from transfusion_worker.mailbox import Mailbox
from transfusion_worker.process import KINDS_MODULE, Child
from transfusion_worker.stall import StallWatch

TICK_SECONDS = 0.25
WRITE_SECONDS = 0.5
"""Points and log lines are written at most this often."""
WATCHFUL_BEAT_SECONDS = 1.0
"""Embedded, where a beat costs nothing, a cancel is noticed this fast."""
DUMP_SECONDS = 1.0
"""Given to a hanging child to print its stacks before it is asked to end."""
TERM_SECONDS = 5.0
"""Given to it then, before it is killed."""
DATABASE_AWAY = (Unavailable, SQLAlchemyError)

_log = logging.getLogger(__name__)


class Due(NamedTuple):
    """What is done to a child at some time of this machine's clock."""

    at: float
    act: Callable[[], None]


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
        self._engine, self._settings, self.claimed = engine, settings, claimed
        self._resources, self._kinds_module = resources, kinds_module
        self._lease = Lease(settings.lease_seconds, since=claimed_at)
        self._mail = Mailbox(claimed.handover)
        self._forgetting = Forgetting(settings)
        self._ending = Ending(engine, claimed, settings=settings, mail=self._mail, forget=self._forgetting.forget)
        self._stall = StallWatch(claimed.kind)
        self._end: End | None = None
        self._due: list[Due] = []
        self._beaten_at, self._written_at = claimed_at, claimed_at
        self._child: Child | None = None
        self._stopping = threading.Event()

    @property
    def outcome(self) -> str:
        """What came of it, for traces: `result`, the reason of a failure, why it was ended, or `died`."""
        if self._mail.result is not None:
            return "result"
        if self._mail.failure is not None:
            return str(self._mail.failure["reason"])
        return self._end.value if self._end else "died"

    def run(self) -> list[str]:
        """Do the job; the queues where others can start now. What went wrong with it stands in its row."""
        try:
            return self._run_or_put_off()
        except Fenced:
            _log.warning("job %s attempt %d is another worker's by now", self.claimed.id, self.claimed.attempt)
            return []
        finally:
            self._forgetting.close()

    def _run_or_put_off(self) -> list[str]:
        try:
            return self._run()
        except OSError as error:  # of this machine: no room for the scratch folder, no process or descriptor to be had
            _log.exception("job %s: the supervisor failed", self.claimed.id)
            return self._ending.put_off(f"the worker itself failed: {error}")

    def _run(self) -> list[str]:
        with self._scratch() as scratch:
            child = Child(self._assignment(scratch), kinds_module=self._kinds_module)
            self._child = child
            try:
                self._watch(child)
                if self._is_told():  # the child has nothing more to say: it exits while its end is written down
                    return self._write_down(child)
            finally:
                child.close()
            return self._write_down(child)

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
                self._stall.heard(message)
                self._mail.take(message)
            if ended or self._is_told():
                return
            try:
                self._tend(child)
            except Fenced:
                self._end = End.FENCED
                raise
            except DATABASE_AWAY as error:
                _log.warning("job %s: the database does not answer: %s", self.claimed.id, error)

    def _tend(self, child: Child) -> None:
        """Everything that is due by the clock."""
        now = time.monotonic()
        self._look_for_an_end(child, now)
        while self._due and now >= self._due[0].at:
            self._due.pop(0).act()
        if now - self._written_at >= WRITE_SECONDS:
            self._written_at = now
            self._ending.mail()
        if now - self._beaten_at >= self._beat_seconds():
            self._beaten_at = now
            self._beat(child)

    def _look_for_an_end(self, child: Child, now: float) -> None:
        if self._end is not End.LEASE and self._lease.is_over():
            self._end, self._due = End.LEASE, [Due(now, child.kill)]
        elif self._end is not None:
            return
        elif self._stopping.is_set():
            self._ask(child, End.RELEASE)
        elif self._stall.is_stalled():
            self._end, term_at = End.HANG, now + DUMP_SECONDS
            self._due = [
                Due(now, child.dump_stacks),
                Due(term_at, child.terminate),
                Due(term_at + TERM_SECONDS, child.kill),
            ]

    def _beat(self, child: Child) -> None:
        sent_at = time.monotonic()
        beat = jobs.beat(
            self._engine,
            self.claimed.id,
            self.claimed.attempt,
            lease_seconds=self._settings.lease_seconds,
            progress=self._mail.progress,
        )
        self._lease.extended(since=sent_at)
        if beat.cancel_requested and self._end is None:
            self._ask(child, End.CANCEL)

    def _ask(self, child: Child, end: End) -> None:
        self._end, self._due = end, [Due(time.monotonic() + self._settings.grace_seconds, child.kill)]
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
                _log.warning("job %s: its end cannot be written yet: %s", self.claimed.id, error)
                self._stopping.wait(WRITE_SECONDS)
                time.sleep(TICK_SECONDS)
        _log.warning("job %s: the lease is over, nothing was written", self.claimed.id)
        return []

    def _try_to_write_down(self, child: Child) -> list[str]:
        if self._is_told():
            return self._ending.told(self._end)
        if self._end in (End.CANCEL, End.RELEASE) or self._stopping.is_set():
            self._ending.mail()
            return self._ending.stopped(self._end or End.RELEASE, child.death())
        hang = f"no sign of life for {self._stall.limit_seconds:.0f} s" if self._end is End.HANG else None
        return self._ending.died(hang or child.death(), child.output())

    def _is_told(self) -> bool:
        return self._mail.result is not None or self._mail.failure is not None

    def _assignment(self, scratch: Path) -> Assignment:
        claimed = self.claimed
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
        scratch = Path(tempfile.mkdtemp(prefix=f"{self.claimed.id}-", dir=parent))
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
