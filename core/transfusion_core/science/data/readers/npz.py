"""Reads MedMNIST's convention: one .npz with `{train,val,test}_{images,labels}`; `val` and `test` may be left out.

Images are uint8 (n, h, w) or (n, h, w, 3); labels whole numbers (n,) or (n, 1), for a multilabel task 0 and 1
in (n, l). Nothing is unpickled, an array's stated shape must fit its bytes before memory is taken for it, and a file
whose arrays are larger than the memory that they may have is refused before any is unpacked.
"""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.archive import Limits
from transfusion_core.science.data.samples import SPLITS, Arrays
from transfusion_core.science.data.tree import Tree, open_tree
from transfusion_core.specs.dataset import Split, Task

MAX_CLASSES = 10_000
TOLD_MAX = 500
ARRAYS_MAX_BYTES = 16 << 30
"""Of all arrays of a file, which are in memory together: MedMNIST's largest, PathMNIST of 224 px, has 15 GiB."""
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npz(source: Path, *, task: Task) -> Arrays:
    """The arrays of a MedMNIST-like file. Raises DataError."""
    limits = Limits(size_bytes=ARRAYS_MAX_BYTES, file_bytes=ARRAYS_MAX_BYTES)
    with open_tree(source, limits=limits) as tree:
        names = {name.removesuffix(".npy") for name in tree.files()}
        present = [split for split in SPLITS if f"{split}_images" in names]
        if "train" not in present:
            raise DataError(f"{source.name}: needs 'train_images' and 'train_labels'; it holds {sorted(names)[:20]}")
        parts = [_part(tree, split, task) for split in present]
    shapes = sorted({images.shape[1:] for images, _ in parts})
    if len(shapes) > 1 or len({labels.shape[1:] for _, labels in parts}) > 1:
        raise DataError(f"{source.name}: the splits differ in shape: images {shapes}")
    splits: list[Split | None] = [split for split, (images, _) in zip(present, parts, strict=True) for _ in images]
    labels = np.concatenate([labels for _, labels in parts])
    return Arrays(np.concatenate([images for images, _ in parts]), labels, _classes(labels, task), splits)


def _part(tree: Tree, split: Split, task: Task) -> tuple[NDArray[np.uint8], Any]:
    images, labels = _array(tree, f"{split}_images"), _array(tree, f"{split}_labels")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        raise DataError(
            f"{split}_images: expected uint8 (n, h, w) or (n, h, w, 3), found {images.dtype} {images.shape}"
        )
    if 0 in images.shape[1:]:
        raise DataError(f"{split}_images: images of no pixels: {images.shape}")
    if labels.ndim not in (1, 2) or len(labels) != len(images):
        raise DataError(
            f"{split}_labels: expected one row for each of {len(images)} images, found shape {labels.shape}"
        )
    return images if images.ndim == 4 else images[..., None], _coded(labels, split, task)


def _array(tree: Tree, name: str) -> NDArray[Any]:
    data = tree.read(f"{name}.npy")
    try:
        stream = io.BytesIO(data)
        header = _HEADERS.get(npy.read_magic(stream))
        if header is None:
            raise ValueError("its format version is unknown")
        shape, fortran, dtype = header(stream)
        if dtype.hasobject:
            raise ValueError("it holds Python objects, which are never loaded")
        if math.prod(shape) * dtype.itemsize != len(data) - stream.tell():
            raise ValueError(f"its shape {shape} does not fit its {len(data)} bytes")
        flat = np.frombuffer(data, dtype, offset=stream.tell())
        return flat.reshape(shape, order="F" if fortran else "C")
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"{name}: not a plain array: {error}"[:TOLD_MAX]) from error


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
