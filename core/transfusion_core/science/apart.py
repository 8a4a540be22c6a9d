"""A process apart: a fresh interpreter without credentials that shuts itself in and answers questions about files.

It is not a fork of the job's process, which holds the store's keys in its memory. What it answers is taken for what a
stranger says: JSON and bytes of bounded size. However it ends, only the file that it was asked about is at fault.
`answering.py` is its side.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO

import transfusion_core
from transfusion_core.science.answering import MORE, REFUSED, Refused
from transfusion_core.science.frames import BrokenFrame, Frame

ROOT = Path(transfusion_core.__file__).parents[1]
KEPT = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""All that such a process inherits of the environment: where libraries may lie."""
KEEPS_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "PILLOW_BLOCKS_MAX": "4",
}
"""Memory of one image serves for the next: given back to the kernel, its pages took as long as decoding (measured)."""
ANSWER_MAX_BYTES = 1 << 30
BUFFER_BYTES = 1 << 21
"""A usual image fits, so that it takes no turns of both processes."""
STARTING_SECONDS = 60.0
"""On top of the first answer: a machine under load takes its time to import libraries."""


class Died(Exception):
    """The process did not answer; the message says how it ended."""


def environment() -> dict[str, str]:
    """What a fresh interpreter needs to find this package, and nothing else. One thread, as `shut_in` asks."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    single = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}
    return {**kept, **single, **KEEPS_MEMORY, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "LC_ALL": "C.UTF-8"}


class Apart:
    """One such process. It belongs to one thread at a time, and dies with the thread that started it."""

    def __init__(self, program: str, *arguments: str, holding: Sequence[IO[bytes]] = ()) -> None:
        """Start `python -m program arguments...`, which inherits the open files `holding` under their own numbers."""
        self._words = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the process
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)  # as much as the system allows
            end.setblocking(True)  # the child waits, whatever a library has made this process's default
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", program, *arguments],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._words,
                env=environment(),
                cwd="/",
                pass_fds=[file.fileno() for file in holding],
            )
        self._grace_seconds = STARTING_SECONDS
        self.busy_seconds = 0.0
        """How long it has been waited for: no less than the processor time that it took."""

    def ask(self, question: Frame, *, within_seconds: float) -> Frame:
        """The answer. Raises Refused where the file is at fault, Died where the process is; it is of no more use."""
        *_, last = self.pieces(question, within_seconds=within_seconds)
        return last

    def pieces(self, question: Frame, *, within_seconds: float) -> Iterator[Frame]:
        """As `ask`, for an answer that comes in pieces; what is done between them takes none of the time."""
        began = time.monotonic()
        deadline = began + within_seconds + self._grace_seconds
        try:
            question.write(lambda data: self._send(data, deadline))
            more = True
            while more:
                frame = Frame.read(partial(self._receive, deadline=deadline), data_max_bytes=ANSWER_MAX_BYTES)
                if REFUSED in frame.head:
                    raise Refused(str(frame.head[REFUSED]))
                more = bool(frame.head.get(MORE))
                waited = time.monotonic()
                yield frame
                between = time.monotonic() - waited
                began, deadline = began + between, deadline + between
        except TimeoutError as error:
            raise Died(f"reading it took longer than {within_seconds:g} seconds and was given up") from error
        except (BrokenFrame, OSError) as error:
            raise Died(self._death()) from error
        finally:
            self._grace_seconds = 0.0
            self.busy_seconds += time.monotonic() - began

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()
        self._words.close()

    def _send(self, data: bytes | bytearray, deadline: float) -> None:
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(data)

    def _receive(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        view, done = memoryview(data), 0
        while done < count:
            self._socket.settimeout(_left(deadline))
            came = self._socket.recv_into(view[done:])
            if not came:
                raise ConnectionResetError("the process ended")
            done += came
        return data

    def _death(self) -> str:
        """How the process ended; one that says nonsense is ended."""
        if self._words.closed:
            return "the process that reads it was ended before"
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return "the process that reads it answered nonsense and was ended"
        self._words.seek(0)
        lines = self._words.read()[-2000:].decode(errors="replace").splitlines() or ["it said nothing"]
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return "".join(c if c.isprintable() else " " for c in f"the process that reads it {how} ({lines[-1]})")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
