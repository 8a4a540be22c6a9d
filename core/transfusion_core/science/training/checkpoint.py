"""Weights on disk, as safetensors. Whether the bytes are the right ones is for the store's digest to say."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.tensor_files import write_tensors


def save_checkpoint(path: Path, state_dict: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write plain contiguous CPU copies. Tied weights are written once per name: loading need not know of ties.

    OSError where the disk is full.
    """
    write_tensors(path, plain_copies(state_dict), metadata)


def plain_copies(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous copies on the CPU."""
    return {name: _plain_copy(name, tensor) for name, tensor in state_dict.items()}


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, on the CPU and independent of the file, and the metadata. DataError for a file that is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in list(file.keys())}
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise DataError(f"expected a safetensors file at {path.name}, got: {error}") from error


def _plain_copy(name: str, tensor: Tensor) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise DataError(f"expected a tensor at '{name}' of the weights, got {type(tensor).__name__}")
    return tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
