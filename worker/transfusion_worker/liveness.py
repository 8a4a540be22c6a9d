"""Who a worker is, and whether it is still there: a pid may be used again, a pid with its start time is not."""

import os
import shutil
import socket
from pathlib import Path

_START_TIME_FIELD = 22
"""Of /proc/PID/stat, counted from 1 (proc(5)): clock ticks from the machine's start to the process's."""


def worker_name() -> str:
    """This process as `host:pid:starttime`."""
    pid = os.getpid()
    return f"{socket.gethostname()}:{pid}:{_start_time(pid)}"


def is_alive(worker: str) -> bool:
    """Whether that worker may still be at work. Of workers on other hosts it is not known, so they may."""
    host, pid, start_time = worker.rsplit(":", 2)
    if host != socket.gethostname():
        return True
    return str(_start_time(int(pid))) == start_time


def scratch_folder(cache_dir: Path) -> Path:
    """Where this process's jobs keep what they need only while they run."""
    return cache_dir / "scratch" / worker_name()


def clear_scratch(cache_dir: Path) -> None:
    """Remove the scratch folders of workers of this host that are no more."""
    for folder in (cache_dir / "scratch").glob("*:*:*"):
        if not is_alive(folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _start_time(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The second field, the command in parentheses, may hold spaces and parentheses itself.
    return int(stat.rpartition(")")[2].split()[_START_TIME_FIELD - 3])
