"""Reads source tensors from a weight file, whatever it is called: its bytes tell of which kind it is.

Safetensors are read here: numbers and names, nothing that could run. What torch saves is a pickle and is opened by a
child process alone (`pickled.py`), which turns it into safetensors.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from transfusion_core.science.inits.pickled import Patience, convert
from transfusion_core.science.inits.source_errors import SourceUnreadable

TORCH_MAGICS = (b"PK\x03\x04", b"\x80")
"""How torch's files begin: a zip archive, or a bare pickle of protocol 2 or later (before torch 1.6)."""
HEADER_MAX_BYTES = 100_000_000
"""The longest header that safetensors reads; those of the largest networks have a megabyte."""
LOOKALIKES = {
    b"version https://git-lfs": "a Git LFS pointer, which stands for the file itself",
    b"<!DOCTYPE": "a web page",
    b"<html": "a web page",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip archive",
    b"GGUF": "a GGUF file",
}
"""What people take for weights, by how it begins."""


def load_weights(path: Path, *, scratch: Path | None = None, patience: Patience | None = None) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file, on the CPU, by name.

    A converted file lies in the folder `scratch` while it is read, or in a temporary one. Raises `SourceUnreadable`
    for what is no weight file, a broken one, values that are no tensors, and numbers that are not finite.
    """
    begins = _beginning(path)
    if begins[8:9] == b"{" or not begins.startswith(TORCH_MAGICS):  # a header's length may look like a magic
        return _read(path, begins, called=path.name)
    with TemporaryDirectory(dir=scratch, prefix="weights-") as folder:
        converted = Path(folder) / "converted.safetensors"
        convert(path, to=converted, patience=patience)
        return _read(converted, _beginning(converted), called=path.name)


def _beginning(path: Path) -> bytes:
    if not path.is_file():
        raise SourceUnreadable(f"{path.name}: expected a weight file, got {'a folder' if path.is_dir() else 'none'}")
    with path.open("rb") as file:
        begins = file.read(64)
    if not begins:
        raise SourceUnreadable(f"{path.name}: expected a weight file, got an empty one")
    return begins


def _read(path: Path, begins: bytes, *, called: str) -> dict[str, Tensor]:
    _check_header(begins, size_bytes=path.stat().st_size, called=called)
    try:
        # Copies: tensors that are views of a mapped file would change, or end the process, with it.
        tensors = {name: tensor.clone() for name, tensor in safetensors.torch.load_file(path).items()}
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError) as error:
        told = str(error).partition("\n")[0][:500]
        raise SourceUnreadable(f"{called}: expected a whole safetensors file, got a broken one: {told}") from error
    if not tensors:
        raise SourceUnreadable(f"{called}: expected tensors, got none")
    return {name: checked(called, name, tensor) for name, tensor in tensors.items()}


def _check_header(begins: bytes, *, size_bytes: int, called: str) -> None:
    """Refuse what cannot be safetensors: 8 bytes that say how long a JSON object is, and that object."""
    for start, sort in LOOKALIKES.items():
        if begins.startswith(start):
            raise SourceUnreadable(f"{called}: expected safetensors or a file that torch saved, got {sort}")
    claimed = int.from_bytes(begins[:8], "little")
    if begins[8:9] != b"{":
        raise SourceUnreadable(
            f"{called}: expected safetensors or a file that torch saved, got {size_bytes} bytes that begin with "
            f"{begins[:16]!r}"
        )
    if claimed > min(HEADER_MAX_BYTES, size_bytes - 8):
        raise SourceUnreadable(
            f"{called}: expected a safetensors header inside the file's {size_bytes} bytes, it claims {claimed}"
        )


def checked(origin: str, name: str, value: Tensor) -> Tensor:
    """The tensor, if all its numbers are finite; `SourceUnreadable` otherwise."""
    numbers = value.float() if value.itemsize == 1 else value  # torch asks this of no float8
    if value.is_floating_point() and not bool(torch.isfinite(numbers).all()):
        raise SourceUnreadable(f"{origin}: expected finite numbers, got NaN or infinity in {name[:200]!r}")
    return value
