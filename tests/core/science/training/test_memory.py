import pytest
import torch

from transfusion_core.errors import OutOfMemory
from transfusion_core.science.training.memory import memory_errors


def test_a_real_failed_allocation_on_the_cpu_is_out_of_memory() -> None:
    with pytest.raises(OutOfMemory, match="not enough memory while drawing"), memory_errors("drawing"):
        torch.empty(2**58, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        MemoryError(),
    ],
)
def test_each_way_to_run_out_is_the_same_error_with_its_cause(error: Exception) -> None:
    with pytest.raises(OutOfMemory) as caught, memory_errors("training"):
        raise error
    assert caught.value.__cause__ is error
    assert "\n" not in caught.value.detail


def test_other_runtime_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), memory_errors("training"):
        raise RuntimeError("shapes differ")
