"""A pack: a dataset as one safetensors file, images and labels as the training reads them.

Files keep the bytes that their pixels depend on; images that came as arrays stay arrays. Patients are in it as numbers
alone, so that intervals can be over patients; their names are dropped. File names are kept, for the dataset's profile.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from transfusion_core.errors import DataError
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import RULES, UnreadableImage, square
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.science.tensor_files import write_tensors
from transfusion_core.specs.dataset import Split, Task

VERSION = 1
_BLOCK = 256
"""Images per piece of work when pixels are written or counted."""


@dataclass(frozen=True)
class Encoded:
    """Image files end to end: bytes uint8 (total,), and where each begins and ends, int64 (n + 1,)."""

    data: Tensor
    offsets: Tensor

    @classmethod
    def of(cls, files: Sequence[bytes]) -> "Encoded":
        """The files joined."""
        offsets = np.concatenate([[0], np.cumsum([len(file) for file in files])]).astype(np.int64)
        return cls(torch.from_numpy(np.frombuffer(bytearray(b"".join(files)), np.uint8)), torch.from_numpy(offsets))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def file(self, index: int) -> bytes:
        """The bytes of one file."""
        start, end = self.offsets[index : index + 2].tolist()
        return self.data[start:end].numpy().tobytes()


@dataclass(frozen=True)
class Pack:
    """Labelled images with their split."""

    images: Tensor | Encoded
    """uint8 (n, h, w, c) with c 1 or 3, or files."""
    labels: Tensor
    """int64 (n,) class or grade; float32 (n, l) for a multilabel task, NaN where missing."""
    split: Tensor
    """uint8 (n,): 0 train, 1 val, 2 test."""
    names: list[str]
    """File names, or `split/position` for arrays, (n,)."""
    task: Task
    classes: list[str]
    channels: int
    """1 where every pixel of every image is grey, else 3. `images_at` gives three either way."""
    patients: Tensor | None = None
    """int64 (n,): whose image each is, counted from 0; None where patients are not known."""

    def __len__(self) -> int:
        return len(self.split)

    def indices(self, split: Split) -> Tensor:
        """The positions of a split's images, ascending, int64."""
        return torch.nonzero(self.split == SPLITS.index(split)).flatten()

    def write(self, path: Path) -> None:
        """Write the pack; a reader sees all of it or nothing."""
        files = isinstance(self.images, Encoded)
        pixels = (
            {"encoded": self.images.data, "offsets": self.images.offsets} if isinstance(self.images, Encoded) else {}
        )
        names = torch.frombuffer(bytearray(json.dumps(self.names).encode()), dtype=torch.uint8)
        tensors = {"labels": self.labels, "split": self.split, "names": names, **pixels}
        if self.patients is not None:
            tensors["patients"] = self.patients
        if not files:
            tensors["images"] = cast(Tensor, self.images)
        about = {
            "task": self.task,
            "classes": json.dumps(self.classes),
            "channels": str(self.channels),
            "version": str(VERSION),
        }
        temporary = _beside(path)
        try:
            write_tensors(temporary, {name: tensor.contiguous() for name, tensor in tensors.items()}, about)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> "Pack":
        """Read a pack. Raises DataError for anything else."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                names = list(file.keys())
                tensors = {name: file.get_tensor(name) for name in names}
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path.name}: is not a readable pack: {error}") from error
        if about.get("version") != str(VERSION):
            raise DataError(f"{path.name}: expected a pack of version {VERSION}, found {about.get('version')}")
        return _pack(tensors, about)

    def images_at(self, size: int) -> Tensor:
        """All images squashed to a square, uint8 (n, 3, size, size)."""
        pixels = np.empty((len(self), 3, size, size), np.uint8)
        self._fill(pixels)
        return torch.from_numpy(pixels)

    def _fill(self, pixels: NDArray[np.uint8]) -> None:
        """Decode and resize into (n, 3, size, size), by processes apart where files are to be decoded."""
        with Decoders() as decoders, ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:

            def one(index: int) -> None:
                pixels[index] = self._square(index, pixels.shape[-1], decoders)

            for _ in pool.map(one, range(len(self))):
                pass

    def _square(self, index: int, size: int, decoders: Decoders) -> NDArray[np.uint8]:
        """One image as (3, size, size)."""
        if not isinstance(self.images, Encoded):
            return square(self.image(index, decoders), size)
        try:
            return decoders.square(self.images.file(index), size)
        except UnreadableImage as error:
            raise DataError(f"{self.names[index]}: {error}") from error

    def image(self, index: int, decoders: Decoders) -> Image.Image:
        """One image in RGB, as large as it came."""
        if isinstance(self.images, Encoded):
            try:
                return decoders.image(self.images.file(index))
            except UnreadableImage as error:
                raise DataError(f"{self.names[index]}: {error}") from error
        array = self.images[index].numpy()
        return Image.fromarray(array if array.shape[2] == 3 else array[..., 0]).convert("RGB")


def _pack(tensors: dict[str, Tensor], about: dict[str, str]) -> Pack:
    encoded = Encoded(tensors["encoded"], tensors["offsets"]) if "encoded" in tensors else None
    return Pack(
        images=tensors["images"] if encoded is None else encoded,
        labels=tensors["labels"],
        split=tensors["split"],
        names=json.loads(tensors["names"].numpy().tobytes()),
        task=cast(Task, about["task"]),
        classes=json.loads(about["classes"]),
        channels=int(about["channels"]),
        patients=tensors.get("patients"),
    )


def resized(pack: Pack, *, digest: str, size: int, cache_dir: Path) -> Tensor:
    """`pack.images_at(size)` from a file in the cache, mapped into memory, uint8 (n, 3, size, size).

    `digest` is the dataset's. The file appears whole or not at all; each use checks it, and one that was damaged is
    built again. Writing to the tensor does not change the file. Processes that build it at once write the same bytes.
    """
    path = cache_dir / f"{digest}-{size}-rules{RULES}.npy"
    kept = _mapped(path, (len(pack), 3, size, size))
    if kept is not None:
        with suppress(FileNotFoundError):  # where room is made, what was not used for longest goes
            os.utime(path)
            os.utime(_digest_file(path))
        return kept
    cache_dir.mkdir(parents=True, exist_ok=True)
    _build(pack, size, path)
    built = _mapped(path, (len(pack), 3, size, size))
    if built is None:
        raise DataError(f"{path.name}: the cache was written and cannot be read back")
    return built


def _build(pack: Pack, size: int, path: Path) -> None:
    temporary = _beside(path)
    try:
        pixels = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=(len(pack), 3, size, size))
        with temporary.open("r+b") as file:
            # All of it now: a page of a mapped file for which there is no room is a SIGBUS, not an error.
            os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        pack._fill(pixels)
        pixels.flush()
        del pixels
        sha256 = _sha256(temporary)
        os.replace(temporary, path)
        temporary.write_text(sha256)
        os.replace(temporary, _digest_file(path))
    finally:
        temporary.unlink(missing_ok=True)


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The cached pixels; None where there are none of this shape, or not all of them are what was written."""
    try:
        if _sha256(path) != _digest_file(path).read_text():
            return None
        pixels: Any = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(pixels) if pixels.shape == shape and pixels.dtype == np.uint8 else None


def _digest_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")


@dataclass(frozen=True)
class ChannelMoments:
    """Mean and standard deviation of each channel, of pixels in [0, 1]."""

    mean: list[float]
    std: list[float]


def mean_std(images: Tensor, indices: Tensor) -> ChannelMoments:
    """Moments per channel over images[indices] of uint8 (n, c, h, w), exact: counted per value, summed in float64."""
    channels = images.shape[1]
    counts = torch.zeros(channels, 256, dtype=torch.int64)
    for start in range(0, len(indices), _BLOCK):
        pixels = images[indices[start : start + _BLOCK]]
        for channel in range(channels):
            counts[channel] += torch.bincount(pixels[:, channel].flatten().to(torch.int32), minlength=256)
    share = counts.double() / counts.sum(1, keepdim=True)
    values = torch.arange(256, dtype=torch.float64) / 255
    mean = share @ values
    variance = (share * (values - mean[:, None]) ** 2).sum(1)
    return ChannelMoments(mean.tolist(), variance.sqrt().tolist())
