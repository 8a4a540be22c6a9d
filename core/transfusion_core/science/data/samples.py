"""What the readers hand on: listed files, or whole arrays, with labels already coded as numbers."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from transfusion_core.specs.dataset import FileFault, Split

SPLITS: tuple[Split, ...] = ("train", "val", "test")
"""In the order of their codes 0, 1, 2."""
SPLIT_NAMES: dict[str, Split] = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What people call them."""

Label = int | tuple[float, ...]
"""A class index or grade; or for a multilabel task 1, 0 or NaN (missing) per label."""


@dataclass(frozen=True)
class Sample:
    """One image file."""

    file: str
    label: Label
    split: Split | None = None
    patient: str | None = None
    row: int | None = None
    """Row of the manifest, counted from 1 without the header."""
    name: str | None = None
    """What is stored in the place of the file's name, where that may hold the patient's id."""
    sha256: bytes | None = None
    """Of the file as it came, where what is read is what the version that is extended has kept of it."""


@dataclass(frozen=True)
class Listing:
    """The files that a reader found, not yet opened."""

    samples: list[Sample]
    classes: list[str]
    faults: list[FileFault] = field(default_factory=list)


@dataclass(frozen=True)
class Arrays:
    """Images of one shape that came in arrays; their order is part of their identity."""

    images: Iterable[NDArray[np.uint8]]
    """n times (h, w, c), with c 1 or 3; they need not be in memory together."""
    shape: tuple[int, int, int]
    """(h, w, c)."""
    labels: NDArray[np.int64] | NDArray[np.float32]
    """(n,) classes or grades, or (n, l) for a multilabel task."""
    classes: list[str]
    splits: list[Split | None]
    names: list[str] = field(default_factory=list)
    """(n,); by split and position unless given."""


def hash_of_pixels(image: NDArray[np.uint8]) -> bytes:
    """What stands for an image (h, w, c) that came in an array: sha256 of its shape and its pixels."""
    height, width, channels = image.shape
    return hashlib.sha256(f"{width}x{height}x{channels}:".encode() + image.tobytes()).digest()


def class_order(names: Iterable[str]) -> list[str]:
    """Class names sorted, by value where all of them are whole numbers."""
    distinct = set(names)
    if all(name.isascii() and name.removeprefix("-").isdecimal() for name in distinct):
        return sorted(distinct, key=lambda name: (int(name), name))
    return sorted(distinct)
