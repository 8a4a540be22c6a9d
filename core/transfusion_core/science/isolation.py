"""Walls that a process puts around itself before it reads what a stranger wrote.

`shut_in` is called by a child process that was started with an environment of its own, once all that it needs is
imported and opened: afterwards it can only compute, and read and write the descriptors that it holds. What holds where:

- No new descriptor (`RLIMIT_NOFILE` 0): the kernel then refuses every socket, file and pipe, on Linux and macOS.
  A process with CAP_SYS_RESOURCE, root's outside of containers, could raise the limit again unless the next wall
  stands.
- No network and no privileges (a user and a network namespace of its own): Linux, where the kernel and the container
  let ordinary processes have user namespaces; `shut_in` tells whether they did. Docker's default profile does not.
- Processor time, size of written files and core dumps are limited everywhere; new processes and threads everywhere
  but for root; memory on Linux alone, as macOS does not enforce `RLIMIT_AS`.

None of this is a virtual machine: a hole in the kernel itself is a hole here.
"""

import ctypes
import math
import os
import resource
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
"""linux/sched.h; `os.unshare` came with Python 3.12 only."""
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
"""linux/prctl.h."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a shut-in process may use from here on."""

    memory_bytes: int
    """Beyond what it has mapped already."""
    cpu_seconds: float
    """Beyond what it has used already."""
    file_bytes: int
    """Size of any file that it writes."""


def shut_in(limits: Limits) -> bool:
    """Put up the walls, for good. Whether the network is cut off by a namespace too.

    The process must have one thread alone, or Linux gives it no user namespace.
    """
    _die_with_parent()
    cut_off = leave_network()
    for kind, most in _rlimits(limits).items():
        _limit(kind, most)
    return cut_off


def leave_network() -> bool:
    """Move this process into an empty network of its own, where it has no privileges outside. Whether that went."""
    return sys.platform == "linux" and int(ctypes.CDLL(None).unshare(CLONE_NEWUSER | CLONE_NEWNET)) == 0


def _die_with_parent() -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # else a setuid program could take the walls down


def _limit(kind: int, most: int) -> None:
    """Lower a limit, for good; one that is lower already stays."""
    _, hard = resource.getrlimit(kind)
    # One second of processor time lies between the signal that tells why and the one that cannot be held.
    wanted = most + 1 if kind == resource.RLIMIT_CPU else most
    lowest = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (min(most, lowest), lowest))


def _rlimits(limits: Limits) -> dict[int, int]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        resource.RLIMIT_CPU: math.ceil(used.ru_utime + used.ru_stime + limits.cpu_seconds),
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 0,
    }
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        found[resource.RLIMIT_AS] = pages * os.sysconf("SC_PAGE_SIZE") + limits.memory_bytes
    return found
