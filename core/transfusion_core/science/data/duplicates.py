"""Images that are there more than once: with the same pixels, or as one picture saved, resized or lit otherwise.

Near duplicates are told by grey thumbnails of 16 x 16 pixels. Medical images have a common look (a disc on black, two
lungs) that would make all of them alike, so two things must agree: the thumbnails, brought to mean 0 and length 1, less
the dataset's median one, correlate by 0.98; and so do their slopes from pixel to pixel, the steep ones flattened, by
0.85. Of the fundus photographs, films and photographs that this was tried on (28 to 640 pixels), copies by JPEG of
quality 80 or 15% brighter, and of half the size from 64 pixels up, came to 0.974 and 0.93 or more, nearly all to 0.98
and 0.95; different pictures reached 0.98 at times, but then 0.73 at most. A crop by 2% is another picture.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

SIDE = 16
LOOK, SLOPES = 0.98, 0.85
BLOCK = 2048
"""Images compared with as many others at a time."""
_FLAT = 1e-3
_SHADE = 4
"""Of 255: a slope well beyond it is an edge, whatever its height."""
_MEDIAN_OF = 5000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Fingerprint:
    """What of an image is compared."""

    hash: bytes
    """sha256 of its size and RGB pixels."""
    thumbnail: NDArray[np.uint8]
    """Grey, (16, 16)."""


def fingerprint(image: Image.Image) -> Fingerprint:
    """The fingerprint of an RGB image."""
    pixels = np.ascontiguousarray(np.asarray(image))
    hash = hashlib.sha256(f"{image.width}x{image.height}:".encode() + pixels.tobytes()).digest()
    resampling = Image.Resampling.BOX if min(image.size) >= SIDE else Image.Resampling.BILINEAR
    return Fingerprint(hash, np.asarray(image.convert("L").resize((SIDE, SIDE), resampling)))


def exact_groups(found: Sequence[Fingerprint]) -> list[list[int]]:
    """Places of images whose every pixel is the same, two or more in each group, in order."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, one in enumerate(found):
        places[one.hash].append(place)
    return [group for group in places.values() if len(group) > 1]


def near_groups(
    found: Sequence[Fingerprint], *, on_block: Callable[[int, int], object] = lambda done, blocks: None
) -> list[list[int]]:
    """Places of images of one picture that differ in some pixel; copies of the same pixels stand with them.

    Every image is compared with every other: 100,000 take minutes. `on_block` is told how many blocks are done.
    """
    firsts: dict[bytes, int] = {}
    numbers = np.array([firsts.setdefault(one.hash, len(firsts)) for one in found])
    if len(firsts) < 2:
        return []
    _, places = np.unique(numbers, return_index=True)
    thumbnails = np.stack([found[place].thumbnail for place in places]).astype(np.float32)
    names = _joined(_looks(thumbnails), _slopes(thumbnails), on_block)
    distinct = np.bincount(names)
    members: dict[int, list[int]] = defaultdict(list)
    for place, name in enumerate(names[numbers].tolist()):
        members[name].append(place)
    return [group for name, group in members.items() if distinct[name] > 1]


def _looks(thumbnails: Floats) -> Floats:
    """Unit vectors (n, 256) of what sets each thumbnail apart from the usual one; zero where one is flat."""
    vectors = thumbnails.reshape(len(thumbnails), -1)
    vectors = _unit(vectors - vectors.mean(1, keepdims=True))
    step = -(-len(vectors) // _MEDIAN_OF)
    return _unit(vectors - np.median(vectors[::step], axis=0)) if len(vectors) > 2 else vectors


def _slopes(thumbnails: Floats) -> Floats:
    """Unit vectors (n, 480) of the differences of neighbouring pixels: an edge counts little more than a shade."""
    parts = [np.diff(thumbnails, axis=axis).reshape(len(thumbnails), -1) for axis in (1, 2)]
    return _unit(np.tanh(np.concatenate(parts, axis=1) / _SHADE))


def _unit(vectors: NDArray[np.floating[Any]]) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(lengths > _FLAT, vectors / np.maximum(lengths, _FLAT), 0).astype(np.float32)


def _joined(looks: Floats, slopes: Floats, on_block: Callable[[int, int], object]) -> NDArray[np.int32]:
    """The group of each image, by number, where alike ones are joined, and those alike to them."""
    count = len(looks)
    forest = np.empty((2, 0), dtype=np.int64)
    starts = range(0, count, BLOCK)
    names: NDArray[np.int32] = np.arange(count, dtype=np.int32)
    for done, row in enumerate(starts, start=1):
        for column in range(row, count, BLOCK):
            here, there = slice(row, row + BLOCK), slice(column, column + BLOCK)
            alike = looks[here] @ looks[there].T >= LOOK
            if alike.any():
                alike &= slopes[here] @ slopes[there].T >= SLOPES
            pairs = np.stack(np.nonzero(alike)) + np.array([[row], [column]])
            forest = np.concatenate([forest, pairs[:, pairs[0] < pairs[1]]], axis=1)
            if forest.shape[1] > count:  # no more is kept than it takes to join all
                names = _components(forest, count)
                forest = np.stack([_firsts(names)[names], np.arange(count)])
        on_block(done, len(starts))
    return _components(forest, count)


def _components(edges: NDArray[np.int64], count: int) -> NDArray[np.int32]:
    graph = coo_matrix((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(count, count))  # type: ignore[no-untyped-call]
    names: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return names


def _firsts(names: NDArray[np.int32]) -> NDArray[np.int64]:
    """The first member of each group."""
    return np.unique(names, return_index=True)[1].astype(np.int64)
