"""The child's side of a job: a fresh process of its own group, which dies with its supervisor.

It is forked from a server that has imported torch and never touched CUDA. It knows the store, but neither database nor
broker, and speaks to its supervisor over a pipe.
"""

import ctypes
import faulthandler
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch

from transfusion_core.errors import (
    JobError,
    ObjectCorrupt,
    ObjectMissing,
    OutOfMemory,
    StoreError,
    TransfusionError,
    Unavailable,
)
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.data.ingest import IngestFaults
from transfusion_core.settings import HandedOn
from transfusion_core.specs.text import lines, one_line
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment
from transfusion_worker.context import JobContext
from transfusion_worker.entry import OUTPUT
from transfusion_worker.wire import Wire

TOLD_MAX, TRACE_MAX = 8000, 50_000
"""Characters: an error may hold words of the file that it is about."""
FILES_MAX = 100
"""So many files at most are told one by one; the error counts all."""

DEVICE_FAULT = re.compile(r"CUDA (driver )?error|cuDNN error|CU(DNN|BLAS|SOLVER|SPARSE|FFT)_\w+|NCCL (error|watchdog)")
"""In what torch says of a device, whose errors are plain RuntimeErrors but for a few."""
DEVICE_FULL = re.compile(r"out of memory|_ALLOC_FAILED")

JobFunction = Callable[[JobContext], dict[str, Any]]

_PR_SET_PDEATHSIG = 1


def main(connection: Any, find: Callable[[], JobFunction]) -> None:
    """Do one job: the assignment comes over the pipe, and so does what came of it."""
    _bind_to_supervisor()
    wire = Wire(connection)
    assignment = Assignment.read(wire.receive())
    _print_into(Path(assignment.scratch) / OUTPUT)
    _keep_to(assignment.threads)
    torch.backends.cudnn.allow_tf32 = False  # torch's default: on CUDA convolutions would keep ten bits of each pixel
    stop = threading.Event()
    threading.Thread(target=_listen, args=(wire, stop), name="supervisor", daemon=True).start()
    wire.send(_attempt(find, assignment, wire, stop))


def _attempt(
    find: Callable[[], JobFunction], assignment: Assignment, wire: Wire, stop: threading.Event
) -> dict[str, Any]:
    """The last message. This is the border where everything a job can raise becomes a reason."""
    try:
        settings = HandedOn.model_validate(assignment.settings)
        context = JobContext(assignment, settings=settings, store=open_store(settings), tell=wire.send, stop=stop)
        faultpoint("begin")
        result = find()(context)
        faultpoint("done")
        return {"result": result}
    except Exception as error:
        return {"failure": failure(error)}


def failure(error: Exception) -> dict[str, Any]:
    """Reason, error and detail of what a job raised."""
    detail: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, TransfusionError) and error.faults:
        detail["faults"] = [one_line(str(fault), most=TOLD_MAX) for fault in error.faults]
    if isinstance(error, IngestFaults):
        detail["files"] = [fault.model_dump(mode="json") for fault in error.files[:FILES_MAX]]
    reason = reason_of(error)
    if reason in ("bug", "infrastructure"):
        detail["traceback"] = lines("".join(traceback.format_exception(error)), most=TRACE_MAX)
    text = str(error) if isinstance(error, TransfusionError) else f"{type(error).__name__}: {error}"
    told = lines(text, most=TOLD_MAX)
    return {"reason": reason, "error": told, "detail": detail, "is_outage": _is_outage(error)}


def reason_of(error: Exception) -> str:
    """Why a job failed, in the words of specs.job.Reason, or `cancelled`."""
    if isinstance(error, JobError):
        return error.reason
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _is_full_device(error):
        return OutOfMemory.reason
    if is_device_fault(error):
        return "infrastructure"
    if isinstance(error, (StoreError, Unavailable, OSError)):
        return "infrastructure"
    return "bug"


def is_device_fault(error: Exception) -> bool:
    """Whether a device, or the network between devices, failed: torch tells of most of that in words alone.

    Not an assertion of a kernel: an index that is out of range is so in the next attempt too.
    """
    if not isinstance(error, RuntimeError) or "device-side assert" in str(error):
        return False
    return isinstance(error, (torch.AcceleratorError, torch.distributed.DistBackendError)) or bool(
        DEVICE_FAULT.search(str(error))
    )


def _is_full_device(error: Exception) -> bool:
    return is_device_fault(error) and bool(DEVICE_FULL.search(str(error)))


def _is_outage(error: Exception) -> bool:
    """Whether it may be over by the time of another attempt.

    Not where a name leads to nothing or to other bytes, nor where a process of the job's own or a device under it
    died, which is a crash.
    """
    if is_device_fault(error):
        return False
    return not isinstance(error, (ObjectMissing, ObjectCorrupt, FileNotFoundError, PermissionError, ChildProcessError))


def _listen(wire: Wire, stop: threading.Event) -> None:
    """Hear the supervisor ask for the end; die where it is no more."""
    try:
        while wire.receive():
            stop.set()
    except (EOFError, OSError):
        os.killpg(0, signal.SIGKILL)


def _bind_to_supervisor() -> None:
    os.setsid()
    # The fork server ends when nobody holds this pipe any more. Children are given it too, so that they could use the
    # server themselves; held here it would keep the server, and so this child, alive beyond their supervisor.
    server: Any = forkserver._forkserver
    if server._forkserver_alive_fd is not None:
        os.close(server._forkserver_alive_fd)
        server._forkserver_alive_fd = None
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the supervisor, who asks over the pipe


def _keep_to(threads: int) -> None:
    """Have torch and the libraries under numpy and scipy use so many threads.

    Each of these takes every core unless told, and jobs side by side then mostly wait for each other.
    """
    torch.set_num_threads(threads)
    if threads > 1:
        from transfusion_worker.preloaded import POOLS  # not above: the fork server imports it last, after all jobs

        POOLS.limit(limits=threads, user_api="blas")
    later = ("OMP", "OPENBLAS", "MKL")
    os.environ |= {f"{library}_NUM_THREADS": str(threads) for library in later}


def _print_into(path: Path) -> None:
    output = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    faulthandler.enable(file=2)  # a segmentation fault prints its stack
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # a supervisor that sees a hang asks for it
