"""What the recipes share: chunks with their own generators, pixel axes, soft ellipses and grain.

Pictures are drawn with additions, multiplications and comparisons of float32 alone (no exp, no sine), which
every machine computes alike: the same seed and size give the same bytes everywhere.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]
Labels = NDArray[np.float32] | NDArray[np.int64]

CHUNK = 64
"""Images per generator: large enough to draw in whole arrays, small enough to stay in the cache at 64 px."""


@dataclass(frozen=True)
class Drawn:
    """What a recipe drew."""

    images: Images
    """(n, size, size, 3), maybe a view."""
    labels: Labels
    """int64 (n,) class or grade; for a multilabel recipe float32 (n, len(classes)), NaN where missing."""
    classes: list[str]

    @classmethod
    def whole(cls, parts: "Iterable[Drawn]") -> "Drawn":
        """All parts in memory together."""
        drawn = list(parts)
        labels: Labels = np.concatenate([part.labels for part in drawn])
        return cls(np.concatenate([part.images for part in drawn]), labels, drawn[0].classes)


@dataclass(frozen=True)
class Chunk:
    """A run of images that share a generator. Parameters are drawn for all `CHUNK`, then cut to `count`."""

    count: int
    generator: np.random.Generator

    def uniform(self, low: float, high: float, *shape: int) -> Floats:
        """Uniform numbers in [low, high), float32 (count, *shape); the first ones do not depend on `count`."""
        drawn = self.generator.random((CHUNK, *shape), dtype=np.float32)[: self.count]
        return np.float32(low) + np.float32(high - low) * drawn

    def integers(self, low: int, high: int, *shape: int) -> NDArray[np.int64]:
        """Whole numbers in [low, high), (count, *shape); the first ones do not depend on `count`."""
        return self.generator.integers(low, high, (CHUNK, *shape))[: self.count]

    def grain(self, size: int) -> Floats:
        """White noise in [-1, 1), (count, size, size).

        The chunk's last draw: it is not drawn for images beyond `count`.
        """
        drawn = self.generator.integers(0, 256, (self.count, size, size), dtype=np.uint8)
        return drawn.astype(np.float32) * np.float32(1 / 128) - np.float32(1)


def chunks(images: int, *, seed: int, recipe: int) -> Iterator[Chunk]:
    """Chunks that cover `images` images; each chunk's generator depends on seed, recipe and position alone."""
    for number, start in enumerate(range(0, images, CHUNK)):
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([recipe, seed, number])))
        yield Chunk(min(CHUNK, images - start), generator)


def axis(size: int) -> Floats:
    """The pixel centres of one side, from -1 to 1, (size,)."""
    return (np.arange(size, dtype=np.float32) + np.float32(0.5)) * np.float32(2 / size) - np.float32(1)


def ellipse(size: int, *, x: Floats, y: Floats, radius_x: Floats, radius_y: Floats) -> Floats:
    """1 in the centre, 0 on the border, negative outside: (n, size, size) from centres and radii (n,)."""
    across = ((axis(size) - x[:, None]) / radius_x[:, None]) ** 2  # (n, w)
    down = ((axis(size) - y[:, None]) / radius_y[:, None]) ** 2  # (n, h)
    np.subtract(np.float32(1), down, out=down)
    return down[:, :, None] - across[:, None, :]


def soft(field: Floats, sharpness: float) -> Floats:
    """A mask in [0, 1] of where `field` is positive, written over it; its edge is 1 / sharpness wide."""
    np.multiply(field, np.float32(sharpness), out=field)
    return np.clip(field, 0, 1, out=field)


def to_bytes(planes: Floats) -> Images:
    """Colour planes in [0, 1] (n, 3, h, w), which are overwritten, as bytes: a view (n, h, w, 3) to be copied from."""
    np.multiply(planes, np.float32(255), out=planes)
    np.clip(planes, 0, 255, out=planes)
    return planes.astype(np.uint8).transpose(0, 2, 3, 1)
