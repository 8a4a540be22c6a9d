"""The sums of a pass as a file: what one worker summed over its part of the images, for whoever merges the parts.

In safetensors' format, which runs nothing when it is read; what is no tensor is JSON in its header.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.similarity.collect import Collected
from transfusion_core.science.tensor_files import write_tensors

_TENSOR = "tensor"
"""What stands in the place of a tensor: an object of this one word, with the tensor's name."""


def save_collected(collected: Collected, path: Path) -> None:
    """Write all that `Collected.state` holds, number by number. OSError where the disk is full."""
    tensors: dict[str, Tensor] = {}
    told = _told(collected.state(), tensors)
    write_tensors(path, tensors, {"collected": json.dumps(told)})


def load_collected(path: Path) -> Collected:
    """Read what `save_collected` wrote. DataError where it is no such file."""
    try:
        with safe_open(path, "pt") as file:
            told = json.loads(file.metadata()["collected"])
            names = file.keys()
            return Collected.from_state(_untold(told, {name: file.get_tensor(name) for name in names}))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected the sums of a pass over images, got another file: {error}") from error


def _told(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.contiguous()
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {"entries": {key: _told(each, tensors) for key, each in value.items()}}
    return [_told(each, tensors) for each in value] if isinstance(value, (list, tuple)) else value


def _untold(told: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(told, list):
        return [_untold(each, tensors) for each in told]
    if not isinstance(told, dict):
        return told
    if _TENSOR in told:
        return tensors[told[_TENSOR]]
    return {key: _untold(each, tensors) for key, each in told["entries"].items()}
