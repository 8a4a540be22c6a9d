"""What this worker's machine has: cores, memory, disk, and GPUs as NVIDIA's own program tells of them."""

import csv
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from transfusion_core import __version__
from transfusion_core.settings import Settings
from transfusion_core.specs.job import Queue
from transfusion_core.specs.worker import Equipment, Gpu
from transfusion_worker.room import free_on
from transfusion_worker.slots import Slots, usable_cores, visible_gpus

_QUERY = "name,memory.total,memory.used,utilization.gpu"
_SECONDS = 5.0
"""A driver that hangs must not hold up the worker."""
_MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def equipment(settings: Settings, queues: Sequence[Queue], slots: Slots) -> Equipment:
    """What the worker has at this moment."""
    return Equipment(
        version=__version__,
        queues=list(queues),
        slots=slots.count,
        running=slots.taken,
        cores=usable_cores(),
        memory_bytes=memory_bytes(),
        free_bytes=free_on(settings.cache_dir),
        gpus=[] if settings.device == "cpu" else gpus(),
        gpus_per_job=settings.gpus_per_job,
        packing=settings.packing,
    )


def memory_bytes(limits: Sequence[Path] = _MEMORY_LIMITS) -> int:
    """Of the machine, or what its container may have."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    told = [path.read_text().strip() for path in limits if path.exists()]
    return min([whole, *(int(limit) for limit in told if limit.isdigit())])


def gpus() -> list[Gpu]:
    """The GPUs that this process may use; none where the driver does not tell of them."""
    program = shutil.which("nvidia-smi")
    if program is None or visible_gpus() == 0:
        return []
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    command = [
        program,
        f"--query-gpu={_QUERY}",
        "--format=csv,noheader,nounits",
        *([f"--id={chosen}"] if chosen else []),
    ]
    try:
        told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS).stdout
        return [_gpu(row) for row in csv.reader(told.splitlines(), skipinitialspace=True)]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def _gpu(row: list[str]) -> Gpu:
    name, total, used, busy = row
    share = float(busy) / 100 if busy.replace(".", "").isdigit() else 0.0  # some devices answer [N/A]
    return Gpu(name=name, memory_bytes=int(total) << 20, used_bytes=int(used) << 20, busy=min(1.0, share))
