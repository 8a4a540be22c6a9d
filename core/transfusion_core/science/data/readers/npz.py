"""Reads MedMNIST's convention: one .npz with `{train,val,test}_{images,labels}`; `val` and `test` may be left out.

Images are uint8 (n, h, w) or (n, h, w, 3); labels whole numbers (n,) or (n, 1), for a multilabel task 0 and 1
in (n, l). Nothing is unpickled, an array's stated shape must fit its bytes before anything of it is believed, and
images are never in memory together.
"""

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.archive import FILE_MAX_BYTES, Limits
from transfusion_core.science.data.images import UnreadableImage, check_size
from transfusion_core.science.data.samples import SPLITS, Arrays
from transfusion_core.science.data.tree import ZipTree, open_tree
from transfusion_core.specs.dataset import Split, Task

MAX_CLASSES = 10_000
TOLD_MAX = 500
LIMITS = Limits(file_bytes=Limits.size_bytes)
"""Images are read one after another: their array may be as large as all that an archive holds."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(source: Path, *, task: Task) -> Arrays:
    """The arrays of a MedMNIST-like file; its images are read, each time they are gone through, one after another.

    Raises DataError, also while images are read.
    """
    with _opened(source) as tree:
        names = {name.removesuffix(".npy") for name in tree.files()}
        present = [split for split in SPLITS if f"{split}_images" in names]
        if "train" not in present:
            raise DataError(f"{source.name}: needs 'train_images' and 'train_labels'; it holds {sorted(names)[:20]}")
        stacks = [_stack(tree, f"{split}_images") for split in present]
        parts = [_labels(tree, split, task, len(stack)) for split, stack in zip(present, stacks, strict=True)]
    shapes = sorted({stack.image for stack in stacks})
    if len(shapes) > 1 or len({labels.shape[1:] for labels in parts}) > 1:
        raise DataError(f"{source.name}: the splits differ in shape: images {shapes}")
    splits: list[Split | None] = [split for split, labels in zip(present, parts, strict=True) for _ in labels]
    labels: NDArray[Any] = np.concatenate(parts)
    return Arrays(_Images(source, stacks), shapes[0], labels, _classes(labels, task), splits)


@contextmanager
def _opened(source: Path) -> Iterator[ZipTree]:
    with open_tree(source, limits=LIMITS) as tree:
        if not isinstance(tree, ZipTree):
            raise DataError(f"{source.name}: expected a file of numpy arrays (.npz), found a folder")
        yield tree


@dataclass(frozen=True)
class _About:
    """What an array's header says."""

    name: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int
    """Where its first element lies."""

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def image(self) -> tuple[int, int, int]:
        """The shape of one of its images."""
        height, width, *channels = self.shape[1:]
        return height, width, channels[0] if channels else 1

    def whole(self, data: bytes) -> NDArray[Any]:
        """All of it, from all bytes of the member."""
        flat = np.frombuffer(data, self.dtype, offset=self.offset)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


@dataclass(frozen=True)
class _Images:
    """The images of several arrays, from a file that is opened whenever they are gone through."""

    source: Path
    stacks: list[_About]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        with _opened(self.source) as tree:
            for stack in self.stacks:
                yield from _whole(tree, stack) if stack.fortran else _one_by_one(tree, stack)


def _one_by_one(tree: ZipTree, stack: _About) -> Iterator[NDArray[np.uint8]]:
    size, held, begun = math.prod(stack.image), bytearray(), False
    for piece in tree.pieces(f"{stack.name}.npy"):
        held += piece
        if not begun and len(held) >= stack.offset:
            del held[: stack.offset]
            begun = True
        whole = len(held) // size if begun else 0
        if whole:
            yield from np.frombuffer(bytes(held[: whole * size]), np.uint8).reshape(whole, *stack.image)
            del held[: whole * size]


def _whole(tree: ZipTree, stack: _About) -> Iterator[NDArray[np.uint8]]:
    """Of an array whose last axis goes slowest no image is there before all are."""
    _check_small(tree, stack.name, "an array in Fortran's order (numpy.ascontiguousarray makes one that may be larger)")
    yield from stack.whole(tree.read(f"{stack.name}.npy")).reshape(-1, *stack.image)


def _stack(tree: ZipTree, name: str) -> _About:
    """Where its images lie."""
    about = _about(tree, name)
    shape = about.shape
    if about.dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(f"{name}: expected uint8 (n, h, w) or (n, h, w, 3), found {about.dtype} {shape}")
    try:
        check_size(*shape[2:0:-1])
    except UnreadableImage as error:
        raise DataError(f"{name}: images of {error}") from error
    return about


def _labels(tree: ZipTree, split: Split, task: Task, images: int) -> NDArray[np.int64] | NDArray[np.float32]:
    name = f"{split}_labels"
    about = _about(tree, name)
    if len(about.shape) not in (1, 2) or len(about) != images:
        raise DataError(f"{name}: expected one row for each of {images} images, found shape {about.shape}")
    _check_small(tree, name, "labels")
    return _coded(about.whole(tree.read(f"{name}.npy")), split, task)


def _check_small(tree: ZipTree, name: str, what: str) -> None:
    if (size_bytes := tree.size_bytes(f"{name}.npy")) > FILE_MAX_BYTES:
        raise DataError(f"{name}: expected {what} of {FILE_MAX_BYTES} bytes at most, it has {size_bytes}")


def _about(tree: ZipTree, name: str) -> _About:
    first = b"".join(tree.pieces(f"{name}.npy", first=True))
    try:
        stream = io.BytesIO(first)
        header = _HEADERS.get(npy.read_magic(stream))
        if header is None:
            raise ValueError("its format version is unknown")
        shape, fortran, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        size_bytes = tree.size_bytes(f"{name}.npy")
        if math.prod(shape) * dtype.itemsize != size_bytes - stream.tell():
            raise ValueError(f"its shape {shape} does not fit its {size_bytes} bytes")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{name}: not a plain array: {error}"[:TOLD_MAX]) from error
    return _About(name, shape, fortran, dtype, offset=stream.tell())


def _coded(labels: NDArray[Any], split: Split, task: Task) -> NDArray[np.int64] | NDArray[np.float32]:
    if labels.dtype.kind not in "iub":
        raise DataError(f"{split}_labels: expected whole numbers, found {labels.dtype}")
    if task == "multilabel":
        several = labels if labels.ndim == 2 else labels[:, None]
        if not np.isin(several, (0, 1)).all():
            raise DataError(f"{split}_labels: a multilabel task takes 0 and 1 alone")
        return several.astype(np.float32)
    if labels.ndim == 2 and labels.shape[1] != 1:
        raise DataError(f"{split}_labels: {labels.shape[1]} labels per image are for task 'multilabel', not {task!r}")
    flat = labels.reshape(len(labels)).astype(np.int64)
    if flat.size and not 0 <= flat.min() <= flat.max() < MAX_CLASSES:
        raise DataError(f"{split}_labels: expected 0 to {MAX_CLASSES - 1}, found {flat.min()} to {flat.max()}")
    return flat


def _classes(labels: NDArray[Any], task: Task) -> list[str]:
    width = labels.shape[1] if task == "multilabel" else int(labels.max(initial=-1)) + 1
    return [str(number) for number in range(width)]
