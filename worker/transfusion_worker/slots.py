"""How many jobs a worker does at once, and what each of them gets."""

import os
import threading
import time
from pathlib import Path

from transfusion_core.errors import InvalidRequest
from transfusion_core.settings import Settings
from transfusion_worker.supervisor import Resources

_GPUS = Path("/proc/driver/nvidia/gpus")
"""NVIDIA's driver has one entry per GPU here: asking torch would touch CUDA."""
_TIME_SHARES = (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"))
"""Where Linux tells of a container's share of time: the newer version of control groups, then the older."""
NAP_SECONDS = 0.2
"""Whoever waits in the main thread wakes this often: Python may handle a signal only when it does."""


class Slots:
    """A fixed number of places, each with its own device and share of the processor."""

    def __init__(self, settings: Settings, *, cores: int | None = None, gpus: int | None = None) -> None:
        cores = cores or usable_cores()
        gpus = 0 if settings.device == "cpu" else (visible_gpus() if gpus is None else gpus)
        each = settings.gpus_per_job
        if 0 < gpus < each:
            raise InvalidRequest(
                f"expected {each} GPUs, as many as each job gets (TRANSFUSION_GPUS_PER_JOB), got {gpus}"
            )
        self.count = settings.slots or gpus // each * settings.packing or max(2, cores // 2)
        self.threads = settings.threads_per_job or max(1, cores // self.count)
        self._devices = [_device(settings.device, slot * each, gpus // each * each) for slot in range(self.count)]
        self.most_gpus = None if self._devices[0] == "cpu" else each
        """That a job may need; None where jobs run on the processor, each part of a large one as a process."""
        self._free = list(reversed(range(self.count)))
        self._changed = threading.Condition()

    def take(self) -> int | None:
        """A free place, or None."""
        with self._changed:
            return self._free.pop() if self._free else None

    def give_back(self, slot: int) -> None:
        """The place is free again."""
        with self._changed:
            self._free.append(slot)
            self._changed.notify_all()

    def wait_until_all_free(self, seconds: float) -> bool:
        """Whether every place is free, after waiting for that if need be."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while len(self._free) < self.count and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(min(left, NAP_SECONDS))
            return len(self._free) == self.count

    @property
    def taken(self) -> int:
        """Places in which a job runs."""
        return self.count - len(self._free)

    def is_any_free(self) -> bool:
        """Whether another job could start now."""
        return bool(self._free)

    def resources(self, slot: int) -> Resources:
        """What a job in this place gets."""
        return Resources(device=self._devices[slot], threads=self.threads)


def usable_cores(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Those that this process is bound to, or as many as its container has the time of; 1 at least."""
    bound = len(os.sched_getaffinity(0))
    for names in _TIME_SHARES:
        files = [groups / name for name in names]
        if all(file.is_file() for file in files):
            quota, period = " ".join(file.read_text() for file in files).split()
            return max(1, min(bound, int(quota) // int(period))) if quota.isdigit() else bound
    return bound


def visible_gpus() -> int:
    """GPUs that this process may use."""
    present = len(list(_GPUS.iterdir())) if _GPUS.is_dir() else 0
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    return present if chosen is None else min(present, len([name for name in chosen.split(",") if name.strip()]))


def _device(device: str, first: int, gpus: int) -> str:
    if gpus:
        return f"cuda:{first % gpus}"
    return "cuda" if device == "cuda" else "cpu"
