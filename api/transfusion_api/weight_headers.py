"""What a safetensors file says of its network's input. Its header alone is read, which is JSON."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.fault import Fault, faults_of

HEADER_MAX_BYTES = 16 << 20
"""A longer header is left to the worker, who may refuse it."""


def told_input(path: Path) -> InputContract | None:
    """The contract in the metadata `input`, or that of a run's checkpoint; None where there is neither.

    Raises InvalidRequest for an `input` that is none.
    """
    metadata = _metadata(path)
    if "about" in metadata:
        return _of_checkpoint(metadata["about"])
    if "input" not in metadata:
        return None
    try:
        return InputContract.model_validate_json(metadata["input"])
    except ValidationError as error:
        told = "; ".join(map(str, faults_of(error, InputContract)))
        message = f"expected an input contract in the file's metadata 'input', got another: {told}"
        raise InvalidRequest(faults=[Fault(pointer="/location", message=message)]) from error


def _metadata(path: Path) -> dict[str, str]:
    """Text to text; empty for all that is no safetensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length <= HEADER_MAX_BYTES else b""
    try:
        read: Any = json.loads(header) if header.startswith(b"{") else {}
        found = read.get("__metadata__", {})
    except (ValueError, RecursionError):
        return {}
    return {name: text for name, text in found.items() if isinstance(text, str)} if isinstance(found, dict) else {}


def _of_checkpoint(about: str) -> InputContract | None:
    try:
        told = json.loads(about)
        return InputContract(mean=told["mean"], std=told["std"], size=told["image_size"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # another program's 'about'
