"""Where a job ran: the device it was given, and what its record says of machine and libraries."""

import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

import transfusion_core
from transfusion_worker.context import JobContext

PACKAGES = ("torchvision", "safetensors", "scipy", "scikit-learn", "pillow")
"""What else has a part in the numbers, beside torch, timm and numpy."""
_DRIVER = Path("/proc/driver/nvidia/version")


def device_of(context: JobContext) -> torch.device:
    """The device of the job's slot. CUDA is touched here for the first time, in the child."""
    if context.device != "auto":
        return torch.device(context.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, and the device with what drives it."""
    cudnn: Callable[[], int | None] = torch.backends.cudnn.version
    return {
        "transfusion": transfusion_core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),  # by its distribution: importing it takes seconds, which not every process needs
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "driver": _driver() if device.type == "cuda" else None,
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "cudnn": cudnn() if device.type == "cuda" else None,
        "packages": {name: version(name) for name in PACKAGES},
    }


def _driver() -> str | None:
    """The version line of NVIDIA's driver, where it tells one."""
    return _DRIVER.read_text().splitlines()[0] if _DRIVER.is_file() else None
