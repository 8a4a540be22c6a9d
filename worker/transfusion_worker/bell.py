"""The Celery worker that hears the doorbell. It runs in a thread and comes back whatever happens to the broker."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from celery.worker import state as state_of_process

from transfusion_core.queue import TASK, is_in_this_process, ring

RESTART_SECONDS = 2.0
STOP_SECONDS = 1.0
"""Who stops the bell waits this long; a consumer that waits for its broker ends by itself a little later."""

state: Any = state_of_process
_the_listener = threading.Lock()
"""Celery keeps the wish to stop once per process, so one bell at a time listens in one, and clears it at its end."""

_log = logging.getLogger(__name__)


class Bell:
    """Calls `look` for every doorbell, in one of as many threads as the worker has slots."""

    def __init__(self, app: Celery, look: Callable[[], None], *, queues: Sequence[str], threads: int) -> None:
        self._app, self._queues, self._threads = app, list(queues), threads
        self._app.task(name=TASK, shared=False, ignore_result=True)(_task(look))
        self._stopping, self._ready = threading.Event(), threading.Event()
        self._listening = False
        self._thread = threading.Thread(target=self._listen, name="bell", daemon=True)

    def start(self) -> None:
        """Listen, as soon as there is a broker."""
        self._thread.start()

    def is_ready(self) -> bool:
        """Whether the broker has been reached since the start."""
        return self._ready.is_set()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()
        if self._listening:
            state.should_stop = 0  # Celery's consumer looks at it between messages and between attempts to connect
            if is_in_this_process(self._app):
                # Without a message it looks every two seconds, and when it has seen that it is to stop waits once more.
                for _ in range(2):
                    ring(self._app, self._queues[:1])
        self._thread.join(STOP_SECONDS)

    def _listen(self) -> None:
        with _the_listener:
            self._listening = True
            self._app.set_default()  # Celery's pool threads look for the task in the process's default app
            while not self._stopping.is_set():
                self._controller().start()  # until the end, or an error that Celery itself gives up on, which it logs
                if not self._stopping.wait(RESTART_SECONDS):
                    _log.warning("the doorbell's consumer ended and is started again")
            self._listening = False
            state.should_stop = None

    def _controller(self) -> Any:
        return self._app.WorkController(
            concurrency=self._threads,
            pool="threads",
            queues=self._queues,
            ready_callback=lambda consumer: self._ready.set(),
            loglevel=logging.WARNING,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )


def _task(look: Callable[[], None]) -> Callable[..., None]:
    def task(job: str | None = None) -> None:
        """Look at the jobs table; `job` is for the log alone."""
        _log.debug("doorbell for job %s", job)
        look()

    return task
