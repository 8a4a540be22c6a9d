"""Weight files that are broken, hostile or no weights at all, as they come from the network."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import safetensors.torch
import torch


class Runs:
    """Pickled, a call that creates the folder `path` when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def code(path: Path, *, creates: Path, zipped: bool = True) -> Path:
    """A torch file with code among its tensors."""
    held = {"weight": torch.zeros(2), "more": Runs(creates)}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    return path


def bare_pickle(path: Path, *, creates: Path) -> Path:
    """A pickle that torch never saved."""
    path.write_bytes(pickle.dumps(Runs(creates)))
    return path


def truncated(path: Path, whole: Path) -> Path:
    """The first two thirds of a file."""
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    return path


def long_header(path: Path) -> Path:
    """Safetensors whose header claims 10 GB."""
    path.write_bytes((10_000_000_000).to_bytes(8, "little") + b'{"a": {}}')
    return path


def inflated(path: Path, *, size_bytes: int) -> Path:
    """A valid torch file, but compressed a thousandfold."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(size_bytes, dtype=torch.uint8)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in plain.infolist():
            packed.writestr(member.filename, plain.read(member))
    return path


def claiming(path: Path, *, stored: int, size: tuple[int, ...], stride: tuple[int, ...]) -> Path:
    """A torch file of four numbers that says that it stores `stored`, in a tensor of that size and stride."""
    with_pickle(path, _claim(stored, size, stride))
    return path


def with_pickle(path: Path, pickled: bytes) -> Path:
    """A torch file with another pickle in it, beside four numbers."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(4)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(path, "w") as changed:
        for member in plain.infolist():
            is_pickle = member.filename.endswith("data.pkl")
            changed.writestr(member.filename, pickled if is_pickle else plain.read(member))
    return path


class _Storage:
    pass


class _Tensor:
    def __init__(self, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.size, self.stride = size, stride

    def __reduce__(self) -> tuple[object, tuple[Any, ...]]:
        rebuilt = (_Storage(), 0, self.size, self.stride, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, rebuilt


def _claim(stored: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, held: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", stored) if isinstance(held, _Storage) else None

    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"weight": _Tensor(size, stride)})
    return buffer.getvalue()


def safe(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """Proper safetensors."""
    safetensors.torch.save_file(tensors, path)
    return path
