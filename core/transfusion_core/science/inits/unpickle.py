"""The child that opens a `.pt` or `.pth` file: `python -m transfusion_core.science.inits.unpickle < in.pth > out`.

Such a file is a pickle, a program that builds objects. It is read with `weights_only=True`, which knows a short list
of harmless steps and refuses the rest, and by a process that is shut in (`science.isolation`) in case that fails. Its
tensors are written as safetensors, which is what the parent reads. `pickled.py` is the parent's side.
"""

import codecs
import io
import json
import os
import re
import sys
import zipfile
from collections.abc import Mapping
from pickle import UnpicklingError
from typing import BinaryIO

import torch
from torch import Tensor

from transfusion_core.science.isolation import Limits, shut_in

REFUSED = 3
"""Exit code: the file is at fault, and the last line on stderr says how. Any other but 0 means that the child died."""
EXPANSION_MAX = 4
"""What torch saves is not compressed: tensors take as many bytes as their file, but for such as share their numbers."""
SPARE_BYTES = 64 << 20
"""What any file may take besides, however small it is: the reader's own needs."""
CONTAINERS = ("state_dict", "model", "model_state_dict", "net", "weights")
"""Names under which training scripts keep the weights inside a checkpoint, the likeliest first."""
NESTED_MAX = 3
"""So many containers are opened, each in the one before."""
TOLD_MAX = 500
"""Characters of an error: part of it is the file's own words."""
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""As safetensors calls them."""


class Refused(Exception):
    """The file is not one that we take tensors from."""


def main() -> int:
    """Convert stdin to stdout from behind walls; the exit code."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    size = os.fstat(source.fileno()).st_size
    cpu_seconds = float(sys.argv[1])
    torch.set_num_threads(1)
    _warm_up()
    shut_in(Limits(memory_bytes=_most(size), cpu_seconds=cpu_seconds, file_bytes=_most(size)))
    try:
        _write(target, tensors_of(source, size_bytes=size))
        target.flush()
    except Exception as error:  # a hostile file can make its reader raise anything
        print(_told(error), file=sys.stderr, flush=True)
        return REFUSED
    return 0


def tensors_of(source: BinaryIO, *, size_bytes: int) -> dict[str, Tensor]:
    """The tensors of a file that torch saved, by name, out of the container that a training script put them in."""
    _check_archive(source, size_bytes)
    loaded = torch.load(source, weights_only=True, map_location="cpu")
    for _ in range(NESTED_MAX):
        loaded = _inside(loaded) or loaded
    if not isinstance(loaded, Mapping) or not loaded:
        raise Refused(f"expected a state dict of tensors, got {_sort(loaded)}")
    tensors = {str(name): _tensor(str(name), value) for name, value in loaded.items()}
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if claimed > _most(size_bytes):
        raise Refused(f"expected about as many bytes of numbers as the file has ({size_bytes}), it claims {claimed}")
    return tensors


def _most(size_bytes: int) -> int:
    return EXPANSION_MAX * size_bytes + SPARE_BYTES


def _warm_up() -> None:
    """Import what is imported at the first load: no file can be opened later."""
    codecs.lookup("cp437")  # in which zip archives of other writers have their names
    for zipped in (True, False):
        buffer = io.BytesIO()
        torch.save({"a": torch.zeros(1, dtype=torch.bfloat16)}, buffer, _use_new_zipfile_serialization=zipped)
        buffer.seek(0)
        torch.load(buffer, weights_only=True)


def _check_archive(source: BinaryIO, size_bytes: int) -> None:
    """Refuse a bomb before torch inflates it, and say plainly what is no archive of torch's."""
    archived = source.read(2) == b"PK"
    source.seek(0)
    if not archived:
        return
    try:
        members = zipfile.ZipFile(source).infolist()
    except zipfile.BadZipFile as error:
        raise Refused("expected a whole archive, got one without its end: the file is cut off or broken") from error
    if sum(member.file_size for member in members) > _most(size_bytes):
        raise Refused(f"the archive claims more than {EXPANSION_MAX} times the {size_bytes} bytes of its file")
    if not any(member.filename.rpartition("/")[2] == "data.pkl" for member in members):
        raise Refused("expected an archive that torch saved, got one without data.pkl")
    source.seek(0)


def _inside(loaded: object) -> Mapping[object, object] | None:
    if isinstance(loaded, Mapping):
        for name in CONTAINERS:
            if isinstance(loaded.get(name), Mapping):
                return dict(loaded[name])
    return None


def _tensor(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise Refused(f"expected a tensor at {name[:100]!r}, got {_sort(value)}")
    if value.layout != torch.strided or value.is_meta or value.dtype not in DTYPES:
        sort = f"{value.dtype} {value.layout} on {value.device}".replace("torch.", "")
        raise Refused(f"expected a dense tensor of plain numbers at {name[:100]!r}, got {sort}")
    return value.detach()


def _write(target: BinaryIO, tensors: Mapping[str, Tensor]) -> None:
    """Safetensors: the header's length in 8 bytes, the header, the numbers.

    safetensors' own writers open a file or hold everything several times over.
    """
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # numbers begin at a multiple of 8
    target.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        target.write(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _sort(value: object) -> str:
    return "an empty one" if isinstance(value, Mapping) and not value else type(value).__name__


def _told(error: Exception) -> str:
    """The error as one line of bounded length."""
    text = str(error)
    named = re.search(r"GLOBAL (\S+)", text)
    if isinstance(error, MemoryError) or "alloc_cpu" in text or "can't allocate memory" in text:
        text = f"it takes more memory than {EXPANSION_MAX} times its size"
    elif isinstance(error, UnpicklingError) and named:
        text = f"it holds {named[1]}, which is code or an object; save the model's state_dict() alone"
    elif not isinstance(error, Refused):
        text = f"{text.rpartition('WeightsUnpickler error: ')[2].strip()} ({type(error).__name__})"
    return "".join(c if c.isprintable() else " " for c in text.partition("\n")[0])[:TOLD_MAX]


if __name__ == "__main__":
    sys.exit(main())
