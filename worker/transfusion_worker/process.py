"""The supervisor's side of a child process: start it, hear it, ask it to stop, kill its group."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType
from typing import Any

from transfusion_core.specs.text import one_line
from transfusion_worker import entry
from transfusion_worker.assignment import SECRETS, Assignment
from transfusion_worker.wire import Wire

KINDS_MODULE = "transfusion_worker.jobs.kinds"
"""Where the child finds `KINDS`: job kind to function. Named only: importing it means importing torch."""
OUTPUT_LINES, LINE_MAX = 200, 2000
"""Enough for the stacks of a dozen threads."""
HUGE_PAGES = {"PYTHONMALLOC": "malloc", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Half a gigabyte of imported modules in pages of 2 MB, where Linux gives these to who asks: a fork copies the tables
of all pages, and costs a third of the processor time with these (measured, docs/scale.md).
"""
_processes = threading.Lock()
"""multiprocessing looks after all children whenever it starts one, which two threads must not do at once."""


def warm_up(kinds_module: str = KINDS_MODULE, *, many_jobs: bool = False) -> None:
    """Start the fork server and wait until it has imported torch and the science: seconds, in which no lease runs.

    `many_jobs`: it takes a second longer for what each of hundreds of jobs then saves.
    """
    context = multiprocessing.get_context("forkserver")
    last = ["transfusion_worker.preloaded", *(["transfusion_worker.collapsed"] if many_jobs else [])]
    context.set_forkserver_preload(["transfusion_worker.preloading", "transfusion_worker.child", kinds_module, *last])
    first = context.Process(target=entry.nothing, name="warm-up", daemon=True)
    with _processes, _apart():
        first.start()
    wait([first.sentinel])
    with _processes:
        first.join()
        first.close()


class Child:
    """A child process at work on one assignment. One thread makes and watches it; any thread may stop or kill it."""

    def __init__(self, assignment: Assignment, *, kinds_module: str = KINDS_MODULE) -> None:
        context: ForkServerContext = multiprocessing.get_context("forkserver")
        here, there = multiprocessing.Pipe()
        self._wire, self._output = Wire(here), Path(assignment.scratch) / entry.OUTPUT
        self._process = context.Process(
            target=entry.main, args=(there, kinds_module, assignment.kind), name=f"job-{assignment.job_id}", daemon=True
        )
        with _processes, _apart():
            self._process.start()
        there.close()  # else this end would never see the other one close
        assert self._process.pid is not None
        self.pid: int = self._process.pid
        """Process id, which is its group's id too."""
        self._stop_asked, self._closed = False, False
        self._exit_code: int | None = None
        with suppress(OSError):  # it may be dead already, which its sentinel tells
            self._wire.send(assignment.message())

    def messages(self, *, timeout_seconds: float) -> Iterator[dict[str, Any]]:
        """What the child said, after waiting for something to happen."""
        wait([self._wire.connection, self._process.sentinel], timeout_seconds)
        try:
            while self._wire.waiting():
                yield self._wire.receive()
        except (EOFError, OSError):
            self._process_ended(timeout_seconds)

    def ended(self) -> bool:
        """Whether the process is no more."""
        with _processes:
            return self._closed or self._process.exitcode is not None

    def ask_to_stop(self) -> None:
        """Ask the job to end at its next good moment."""
        if not self._stop_asked:
            self._stop_asked = True
            with suppress(OSError):
                self._wire.send({"stop": True})

    def dump_stacks(self) -> None:
        """Have the child print where each of its threads is."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)

    def terminate(self) -> None:
        """Send SIGTERM to the child and all it started."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill the child and all it started."""
        if self._closed:
            return
        if not self.ended():
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # it may not lead its group yet
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill what is left, and forget it."""
        self.kill()
        wait([self._process.sentinel])
        with _processes:
            self._process.join()
            self._exit_code, self._closed = self._process.exitcode, True
            self._process.close()
        self._wire.close()

    def death(self) -> str:
        """How the process ended, for a person; after `close`."""
        code = self._exit_code
        if code is not None and code < 0:
            return f"the job's process was killed by {signal.Signals(-code).name}"
        return f"the job's process ended with exit code {code} and said nothing"

    def output(self) -> list[str]:
        """The last lines that the child and its libraries printed."""
        if not self._output.is_file():
            return []
        told = self._output.read_text(errors="replace").splitlines()[-OUTPUT_LINES:]
        return [one_line(line, most=LINE_MAX) for line in told]

    def _process_ended(self, timeout_seconds: float) -> None:
        """The pipe closed: the process ends any moment, and till then nothing is to be heard."""
        wait([self._process.sentinel], timeout_seconds)


@contextmanager
def _apart() -> Iterator[None]:
    """What a child is told of this process, and a fork server that starts: an environment with `HUGE_PAGES` and without
    database and broker credentials, and no main program.

    multiprocessing has each child run its parent's main program, up to where it would begin. Ours is the command line,
    of which no job needs anything: that took as long as all else that it takes to begin one (measured).
    """
    here, main = dict(os.environ), sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ.update({name: value for name, value in HUGE_PAGES.items() if name not in here})
    for name in _secret_names():
        os.environ.pop(name, None)
    try:
        yield
    finally:
        for name in HUGE_PAGES.keys() - here.keys():
            del os.environ[name]
        os.environ.update(here)
        sys.modules["__main__"] = main


def _secret_names() -> list[str]:
    """Of our settings, and all that libpq reads: PGPASSFILE, PGSERVICEFILE and the like lead to the password."""
    ours = [f"TRANSFUSION_{name.upper()}" for name in SECRETS]
    return [*ours, *(name for name in os.environ if name.startswith("PG"))]
