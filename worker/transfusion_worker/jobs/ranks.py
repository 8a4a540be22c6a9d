"""The processes of one training on several GPUs. The job's own process is rank 0 and starts the others.

It starts them by itself, not by torchrun: a job's process talks to its supervisor, and that has to be rank 0. The
others share its process group, and so end with it whatever becomes of it; each prepares data and model likewise.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from transfusion_core.errors import DataError, Diverged, JobCancelled, JobError, OutOfMemory, Unavailable
from transfusion_core.science.training.ranks import ALONE, Ranks
from transfusion_core.settings import Settings
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.environment import device_of

WAIT = timedelta(minutes=10)
"""How long a rank waits for the others, their start included."""
LEAVE_SECONDS = 20.0
"""How long rank 0 has to notice by itself that another rank has ended."""
OUTPUT_LINES = 20
_PR_SET_PDEATHSIG = 1
_REASONS: dict[str, type[JobError]] = {kind.__name__: kind for kind in (DataError, Diverged, OutOfMemory, JobCancelled)}


@contextmanager
def together(context: JobContext, count: int) -> Iterator[Ranks]:
    """Start the other ranks and join them; what one of them fails of is raised here."""
    if count == 1:
        yield ALONE
        return
    device = _check_devices(context, count)
    peers = [_Peer(context, rank=rank, count=count) for rank in range(1, count)]
    left = threading.Event()
    threading.Thread(target=_watch, args=(context, peers, left), name="ranks", daemon=True).start()
    try:
        _join(context, device, rank=0, count=count)
        yield Ranks(0, count)
    except Exception as error:
        _raise_cause(peers, error)
        raise
    finally:
        left.set()
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for peer in peers:
            peer.end()


def backend_of(device: torch.device) -> str:
    """How ranks on such devices exchange gradients."""
    return "nccl" if device.type == "cuda" else "gloo"


class _Peer:
    """Another rank, as rank 0 sees it."""

    def __init__(self, context: JobContext, *, rank: int, count: int) -> None:
        self.rank, self.scratch = rank, context.scratch / f"rank-{rank}"
        self.scratch.mkdir()
        self._output = self.scratch / "output"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "transfusion_worker.jobs.ranks"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
            )
        assert self.process.stdin is not None
        # Not by arguments or environment, which others can read: it holds the store's credentials.
        message = {"assignment": context.assignment.message(), "rank": rank, "count": count, "parent": os.getpid()}
        with suppress(OSError), self.process.stdin as stdin:  # a peer that died already is seen by the watch
            stdin.write(json.dumps(message).encode())

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0)

    def failure(self) -> JobError | Unavailable:
        """Why it failed, as an error of the job."""
        told = self.scratch / "failure.json"
        if told.is_file():
            kind, text = json.loads(told.read_text())
            if kind in _REASONS:
                return _REASONS[kind](text)
        lines = self._output.read_text(errors="replace").splitlines()[-OUTPUT_LINES:]
        return Unavailable("\n".join([f"rank {self.rank} ended with exit code {self.process.returncode}", *lines]))

    def end(self) -> None:
        """It has nothing more to do."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(1 if self.failed else LEAVE_SECONDS)
        self.process.kill()
        self.process.wait()


def _watch(context: JobContext, peers: list[_Peer], left: threading.Event) -> None:
    """End this process where another rank is gone and the exchange with it does not notice: it is tried again."""
    while not left.wait(0.5):
        for peer in peers:
            if peer.failed:
                failure = peer.failure()
                if not left.wait(LEAVE_SECONDS):
                    context.log(str(failure))
                    os._exit(1)
                return


def _raise_cause(peers: list[_Peer], error: Exception) -> None:
    """Raise what another rank failed of, where this one's error only follows from it."""
    if isinstance(error, JobError):
        return
    for peer in peers:
        with suppress(subprocess.TimeoutExpired):
            peer.process.wait(LEAVE_SECONDS / len(peers))
    causes = [peer.failure() for peer in peers if peer.failed]
    first = next((cause for cause in causes if isinstance(cause, JobError)), causes[0] if causes else None)
    if first is not None:
        raise first from error


def _check_devices(context: JobContext, count: int) -> torch.device:
    device, given = device_of(context), context.settings.gpus_per_job
    if device.type == "cuda" and count > given:
        told = (
            f"expected a worker that gives {count} GPUs to a job (TRANSFUSION_GPUS_PER_JOB), got one that gives {given}"
        )
        raise DataError(told)
    return device


def _join(context: JobContext, device: torch.device, *, rank: int, count: int) -> None:
    torch.set_num_threads(max(1, context.threads // count))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    meeting = Path(context.assignment.scratch) / "ranks"
    distributed.init_process_group(
        backend_of(device), init_method=f"file://{meeting}", rank=rank, world_size=count, timeout=WAIT
    )


def _nothing(_message: dict[str, Any]) -> None:
    """Rank 0 speaks for all."""


def main(work: Callable[[JobContext, Ranks], object]) -> None:
    """What another rank does: the same training, of which it tells nobody but rank 0."""
    message = json.load(sys.stdin)
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != message["parent"]:
        return  # it died before this process asked to die with it
    rank, count = message["rank"], message["count"]
    assignment = Assignment.read(message["assignment"])
    settings = Settings.model_validate(assignment.settings)
    context = JobContext(
        assignment, settings=settings, store=open_store(settings), tell=_nothing, stop=threading.Event()
    )
    context.scratch = Path(assignment.scratch) / f"rank-{rank}"
    try:
        first = device_of(context)
        device = torch.device("cuda", (first.index or 0) + rank) if first.type == "cuda" else first
        context.device = str(device)
        _join(context, device, rank=rank, count=count)
        work(context, Ranks(rank, count))
        distributed.destroy_process_group()
    except JobError as error:
        (context.scratch / "failure.json").write_text(json.dumps([type(error).__name__, str(error)]))
        raise


if __name__ == "__main__":
    from transfusion_worker.jobs.train import follow

    main(follow)
