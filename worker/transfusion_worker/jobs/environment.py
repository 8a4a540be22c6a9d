"""Where a job ran: the device it was given, and what its record says of machine and libraries."""

import os
import platform
from typing import Any

import numpy as np
import timm
import torch

import transfusion_core
from transfusion_worker.context import JobContext


def device_of(context: JobContext) -> torch.device:
    """The device of the job's slot. CUDA is touched here for the first time, in the child."""
    if context.device != "auto":
        return torch.device(context.device)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine and device."""
    return {
        "transfusion": transfusion_core.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
    }
