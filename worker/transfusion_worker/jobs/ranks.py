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
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
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
from transfusion_worker.child import failure, reason_of
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.environment import device_of

WAIT = timedelta(minutes=10)
"""How long a rank waits for the others, their start included."""
LEAVE_SECONDS = 20.0
"""How long rank 0 has to notice by itself that another rank has ended."""
OUTPUT_LINES = 20
_PR_SET_PDEATHSIG = 1
_REASONS: dict[str, type[JobError]] = {kind.reason: kind for kind in (DataError, OutOfMemory)}


@contextmanager
def together(context: JobContext, count: int) -> Iterator[Ranks]:
    """Start the other ranks and join them; what one of them fails of is raised here."""
    if count == 1:
        yield ALONE
        return
    _check_devices(context, count)
    folder = Path(tempfile.mkdtemp(prefix="ranks-", dir=context.scratch))
    peers = [_Peer(context, folder, rank=rank, count=count) for rank in range(1, count)]
    left = threading.Event()
    threading.Thread(target=_watch, args=(context, peers, left), name="ranks", daemon=True).start()
    try:
        _join(context, folder, rank=0, count=count)
        yield Ranks(0, count)
        for peer in peers:
            peer.leave()
    except Exception as error:
        _raise_cause(peers, error)
        raise
    finally:
        left.set()
        for peer in peers:
            peer.end()
        if distributed.is_initialized():
            distributed.destroy_process_group()


def backend_of(device: torch.device) -> str:
    """How ranks on such devices exchange gradients."""
    return "nccl" if device.type == "cuda" else "gloo"


class _Peer:
    """Another rank, as rank 0 sees it."""

    def __init__(self, context: JobContext, folder: Path, *, rank: int, count: int) -> None:
        self.rank, self.scratch = rank, folder / str(rank)
        self.scratch.mkdir()
        assignment = replace(context.assignment, scratch=str(self.scratch)).message()
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
        message = {"assignment": assignment, "rank": rank, "count": count, "parent": os.getpid()}
        with suppress(OSError), self.process.stdin as stdin:  # a peer that died already is seen by the watch
            stdin.write(json.dumps(message).encode())

    @property
    def failed(self) -> bool:
        return self.process.poll() not in (None, 0)

    def failure(self) -> JobError | Unavailable | ChildProcessError:
        """Why it failed, as an error of the job."""
        told = self.scratch / "failure.json"
        if told.is_file():
            reason, text = json.loads(told.read_text())
            return _REASONS[reason](text)
        lines = self._output.read_text(errors="replace").splitlines()[-OUTPUT_LINES:]
        return ChildProcessError(
            "\n".join([f"rank {self.rank} ended with exit code {self.process.returncode}", *lines])
        )

    def leave(self) -> None:
        """Let it come to its own end."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(LEAVE_SECONDS)

    def end(self) -> None:
        """It has nothing more to do."""
        self.process.kill()
        self.process.wait()


def _watch(context: JobContext, peers: list[_Peer], left: threading.Event) -> None:
    """End this process where another rank is gone and the exchange with it does not notice."""
    while not left.wait(0.5):
        for peer in peers:
            if peer.failed:
                if not left.wait(LEAVE_SECONDS):
                    context.give_up(failure(peer.failure()))
                return


def _raise_cause(peers: list[_Peer], error: Exception) -> None:
    """Raise what another rank failed of, where this one's error only follows from it."""
    if isinstance(error, JobError):
        return
    for peer in peers:
        peer.leave()
    causes = [peer.failure() for peer in peers if peer.failed]
    first = next((cause for cause in causes if isinstance(cause, JobError)), causes[0] if causes else None)
    if first is not None:
        raise first from error


def _check_devices(context: JobContext, count: int) -> None:
    given = context.settings.gpus_per_job
    if device_of(context).type == "cuda" and count > given:
        told = (
            f"expected a worker that gives {count} GPUs to a job (TRANSFUSION_GPUS_PER_JOB), got one that gives {given}"
        )
        raise DataError(told)


def _join(context: JobContext, folder: Path, *, rank: int, count: int) -> None:
    """Take the device of this rank, those of a job lying side by side, and find the others."""
    torch.set_num_threads(max(1, context.threads // count))
    device = device_of(context)
    if device.type == "cuda":
        device = torch.device("cuda", (device.index or 0) + rank)
        torch.cuda.set_device(device)
        context.device = str(device)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group(backend_of(device), init_method=meeting, rank=rank, world_size=count, timeout=WAIT)


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
    settings, scratch = Settings.model_validate(assignment.settings), Path(assignment.scratch)
    context = JobContext(
        assignment, settings=settings, store=open_store(settings), tell=_nothing, stop=threading.Event()
    )
    try:
        _join(context, scratch.parent, rank=rank, count=count)
        work(context, Ranks(rank, count))
        distributed.destroy_process_group()
    except (Diverged, JobCancelled):
        return  # rank 0 sees the same and says so
    except Exception as error:
        if reason_of(error) in _REASONS:
            (scratch / "failure.json").write_text(json.dumps([reason_of(error), str(error)]))
        raise


if __name__ == "__main__":
    from transfusion_worker.jobs.train import follow

    main(follow)
