"""A worker: two ways to wake up, a fixed number of slots, and the periodic work that any worker does.

It looks at the jobs table when the doorbell rings and, with a broker or without, every few seconds by itself.
"""

import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy import Engine

from transfusion_core.db import jobs, workers
from transfusion_core.db.engine import connect
from transfusion_core.faultpoints import faultpoint
from transfusion_core.logs import about
from transfusion_core.queue import celery_app, ring
from transfusion_core.settings import Settings
from transfusion_core.specs.job import Queue
from transfusion_core.tracing import open_tracing
from transfusion_worker.bell import Bell
from transfusion_worker.equipment import equipment
from transfusion_worker.health import Pulse
from transfusion_worker.liveness import clear_scratch, is_alive, worker_name
from transfusion_worker.process import KINDS_MODULE, warm_up
from transfusion_worker.room import Room
from transfusion_worker.slots import Slots
from transfusion_worker.supervisor import DATABASE_AWAY, Supervisor
from transfusion_worker.tidying import SECONDS as TIDY_SECONDS
from transfusion_worker.tidying import Tidying

SWEEPS_PER_LEASE = 4
MAX_SWEEP_SECONDS = 15.0
GUARD_SECONDS = 0.5
"""Between two looks at whether a supervisor's lease is over."""
TELL_SECONDS = 15.0
"""Between two times that a worker says what it has."""
WARM_UP_SECONDS = 5.0
"""Between two tries to start the fork server."""
JITTER = 0.3
"""Polls of many workers spread by this share, so that they do not come in step."""
KILL_SECONDS = 5.0
"""Supervisors whose children were killed have this long to write it down."""

_log = logging.getLogger(__name__)


class Worker:
    """Does the jobs of some queues. `start` and `stop` for a life inside another process, or `run_forever`."""

    def __init__(self, settings: Settings, queues: Sequence[Queue], *, kinds_module: str = KINDS_MODULE) -> None:
        self.settings, self.queues, self.name = settings, list(queues), worker_name()
        self._kinds_module = kinds_module
        self._engine: Engine = connect(settings.database_url)
        self._app = celery_app(settings.broker_url)
        self._tracing = open_tracing(settings, "worker")
        self._slots, self._room = Slots(settings), Room(settings)
        self._bell = Bell(self._app, self.look, queues=self.queues, threads=self._slots.count)
        self._supervisors: set[Supervisor] = set()
        self._listing = threading.Lock()
        self._wake, self._stopping, self._warm = threading.Event(), threading.Event(), threading.Event()
        self._pulse, self._answered, self._swept = Pulse(settings.cache_dir), threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(act, seconds, woken), name=name, daemon=True)
            for name, act, seconds, woken in (
                ("poll", self._poll, settings.poll_seconds, self._wake),
                (
                    "sweep",
                    self._sweep,
                    min(settings.lease_seconds / SWEEPS_PER_LEASE, MAX_SWEEP_SECONDS),
                    self._stopping,
                ),
                ("guard", self._guard, GUARD_SECONDS, self._stopping),
                ("tell", self._tell_equipment, TELL_SECONDS, self._stopping),
                ("tidy", Tidying(self._engine, settings, self._room).tidy, TIDY_SECONDS, self._stopping),
            )
        ]

    def start(self) -> None:
        """Work until `stop`. No signal handlers, nothing waited for: neither database nor broker need be there yet."""
        clear_scratch(self.settings.cache_dir)
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        self._bell.start()
        for thread in self._threads:
            thread.start()

    def stop(self, grace_seconds: float | None = None) -> None:
        """Claim no more, ask the children to stop, give their jobs back; kill what is left after the grace."""
        grace = self.settings.grace_seconds if grace_seconds is None else grace_seconds
        self.ask_to_stop()
        if not self._slots.wait_until_all_free(grace):
            self.kill()
            self._slots.wait_until_all_free(KILL_SECONDS)
        self._bell.stop()
        for thread in self._threads:
            thread.join(KILL_SECONDS)
        self._pulse.stop()
        with suppress(*DATABASE_AWAY):
            workers.gone(self._engine, self.name)
        self._engine.dispose()
        self._tracing.close()

    def ask_to_stop(self) -> None:
        """Claim no more, and ask the children to stop."""
        self._stopping.set()
        self._wake.set()
        for supervisor in self._at_work():
            supervisor.stop()

    def kill(self) -> None:
        """End every child at once; their jobs are given back all the same."""
        for supervisor in self._at_work():
            supervisor.kill()

    def run_forever(self) -> None:
        """Work until SIGTERM or SIGINT: the first asks the children to stop, the second kills them."""
        asked = threading.Event()

        def on_signal(number: int, frame: object) -> None:
            if asked.is_set():
                threading.Thread(target=self.kill, daemon=True).start()  # locks are not for signal handlers
            asked.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        self.start()
        asked.wait()
        _log.info("stopping: jobs are asked to stop and given back")
        self.stop()

    def look(self) -> None:
        """Claim the best job and do it, one after another, until there is none or no slot is free."""
        while self._warm.is_set() and not self._stopping.is_set() and (slot := self._slots.take()) is not None:
            try:
                supervisor = self._claim(slot)
                if supervisor is None:
                    return
                self._wake.set()  # where there was one job there may be another, for another slot
                self._supervise(supervisor)
            except DATABASE_AWAY as error:
                _log.warning("the database does not answer: %s", error)
                return
            except Exception:  # a border: the job comes back when its lease ends, and the worker goes on
                _log.exception("a look at the jobs failed")
                return
            finally:
                self._slots.give_back(slot)

    def _warm_up(self) -> None:
        while not self._stopping.is_set():
            try:
                warm_up(self._kinds_module, many_jobs=self.settings.mode == "service")
            except OSError:  # no process, descriptor or room to be had: later there may be
                _log.exception("the fork server does not start, and is tried again")
                self._stopping.wait(WARM_UP_SECONDS)
            else:
                self._warm.set()
                self._wake.set()
                return

    def _claim(self, slot: int) -> Supervisor | None:
        faultpoint("before-claim")
        if not self._room.is_enough():
            return None
        asked_at = time.monotonic()
        claimed = jobs.claim(
            self._engine,
            worker=self.name,
            queues=self.queues,
            lease_seconds=self.settings.lease_seconds,
            most_gpus=self._slots.most_gpus,
        )
        self._answered.set()
        if claimed is None:
            return None
        faultpoint("claimed")
        return Supervisor(
            self._engine,
            claimed,
            settings=self.settings,
            resources=self._slots.resources(slot),
            claimed_at=asked_at,
            kinds_module=self._kinds_module,
        )

    def _supervise(self, supervisor: Supervisor) -> None:
        with self._listing:
            self._supervisors.add(supervisor)
        if self._stopping.is_set():
            supervisor.stop()  # the claim and the request to stop crossed
        job = supervisor.claimed
        ids = {"job": job.id, "kind": job.kind, "attempt": job.attempt, "experiment": job.origin.experiment}
        span = self._tracing.span(f"job {job.kind}", parent=job.origin.traceparent, worker=self.name, **ids)
        try:
            with about(**ids, request=job.origin.request), span as traced:
                _log.info("job %s (%s), attempt %d", job.id, job.kind, job.attempt)
                self._tell(supervisor.run(), job.id)
                traced.tell(outcome=supervisor.outcome)
        finally:
            with self._listing:
                self._supervisors.discard(supervisor)

    def _tell(self, queues: list[str], job: str | None = None) -> None:
        """Jobs of these queues can start: wake everybody, oneself first."""
        if queues:
            self._wake.set()
            ring(self._app, queues, job)

    def _poll(self) -> None:
        self._wake.clear()  # before the look: what wakes from now on is for the next one
        is_busy = not self._slots.is_any_free()
        if not is_busy:
            threading.Thread(target=self.look, name="look", daemon=True).start()
        # The look of the poll before; who has no slot free looks at nothing, and is as well as his sweeps.
        if self._answered.is_set() or (is_busy and self._swept.is_set()):
            self._answered.clear()
            self._pulse.beat()
        self._swept.clear()

    def _sweep(self) -> None:
        faultpoint("sweep")
        if self.settings.mode == "embedded":
            self._tell(jobs.reclaim(self._engine, is_alive=is_alive, max_outages=self.settings.max_outages))
        self._tell(jobs.sweep(self._engine, max_outages=self.settings.max_outages))
        self._swept.set()

    def _tell_equipment(self) -> None:
        workers.seen(self._engine, self.name, equipment(self.settings, self.queues, self._slots))

    def _guard(self) -> None:
        for supervisor in self._at_work():
            supervisor.enforce_lease()

    def _repeat(self, act: Callable[[], None], seconds: float, woken: threading.Event) -> None:
        """Do it now and then, until the worker stops. A border: whatever fails once is tried again."""
        while not self._stopping.is_set():
            try:
                act()
            except Exception:
                _log.exception("%s failed and is tried again", threading.current_thread().name)
            woken.wait(seconds * random.uniform(1 - JITTER, 1 + JITTER))

    def _at_work(self) -> list[Supervisor]:
        with self._listing:
            return list(self._supervisors)
