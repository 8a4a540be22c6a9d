"""One meaning for the many ways in which memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from transfusion_core.errors import OutOfMemory

# RuntimeErrors without a class of their own: torch's CPU allocator, cuBLAS and cuDNN handles, NVRTC.
_SIGNS = ("out of memory", "DefaultCPUAllocator", "not enough memory", "STATUS_ALLOC_FAILED")


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turn every failed allocation inside into OutOfMemory, naming `what` was being done."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(_detail(what, error)) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise OutOfMemory(_detail(what, error)) from error


def _detail(what: str, error: BaseException) -> str:
    lines = str(error).splitlines()
    return f"not enough memory while {what}: {lines[0] if lines else type(error).__name__}"
