"""demo-natural: coloured shapes in four layouts on varied backgrounds, a source domain with a global subject.

24 classes, shape by layout. Colour, size, turn, place and background say nothing about the class. The pictures
stand in for photographs where none may be had; features learned on them are those of edges and corners.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from transfusion_core.science.data.recipes.canvas import Chunk, Drawn, Floats, axis, chunks, soft, to_bytes


def _disc(u: Floats, v: Floats) -> Floats:
    return np.float32(1) - u * u - v * v


def _square(u: Floats, v: Floats) -> Floats:
    return np.float32(0.8) - np.maximum(np.abs(u), np.abs(v))


def _triangle(u: Floats, v: Floats) -> Floats:
    return np.float32(0.55) - np.maximum(np.abs(u) * np.float32(0.87) - v * np.float32(0.5), v)


def _ring(u: Floats, v: Floats) -> Floats:
    return np.float32(0.35) - np.abs(u * u + v * v - np.float32(0.65))


def _cross(u: Floats, v: Floats) -> Floats:
    across, down = np.abs(u), np.abs(v)
    return np.minimum(np.float32(0.25) - np.minimum(across, down), np.float32(1) - np.maximum(across, down))


def _bar(u: Floats, v: Floats) -> Floats:
    return np.minimum(np.float32(1) - np.abs(u), np.float32(0.3) - np.abs(v))


SHAPES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
    "cross": _cross,
    "bar": _bar,
}
"""Each is positive inside the shape, which fills about the unit circle."""
LAYOUTS = {"one": (False, False), "beside": (True, False), "above": (False, True), "four": (True, True)}
"""Is the picture folded left to right, top to bottom: a folded side shows the shape twice."""
CLASSES = [f"{shape}-{layout}" for shape in SHAPES for layout in LAYOUTS]
_RECIPE = 3


def draw(images: int, *, seed: int, size: int) -> Iterator[Drawn]:
    """Draw `images` pictures of `size` pixels; labels are class indices.

    The first k are the same whatever `images` is.
    """
    for chunk in chunks(images, seed=seed, recipe=_RECIPE):
        label = chunk.integers(0, len(CLASSES))
        turned = _frame(chunk, size)
        ground, colour = _ground(chunk), chunk.uniform(0, 1, 3)
        texture = _texture(chunk, size)
        mask = _subjects(turned, label)
        yield Drawn(to_bytes(_blend(ground, colour, texture, mask)), label, list(CLASSES))


def _ground(chunk: Chunk) -> Floats:
    """Two background colours per image, (n, 2, 3)."""
    return chunk.uniform(0, 1, 2, 3)


def _frame(chunk: Chunk, size: int) -> tuple[Floats, Floats]:
    """Pixel coordinates after each image's turn, shift and zoom: u and v, (n, size, size)."""
    along = axis(size)
    lean, zoom = chunk.uniform(-0.25, 0.25), chunk.uniform(0.95, 1.25)
    x = along - chunk.uniform(-0.12, 0.12)[:, None]
    y = along - chunk.uniform(-0.12, 0.12)[:, None]
    x, y, slope = x * zoom[:, None], y * zoom[:, None], lean[:, None]
    return x[:, None, :] + (slope * y)[:, :, None], y[:, :, None] - (slope * x)[:, None, :]


def _texture(chunk: Chunk, size: int) -> Floats:
    """How much of the second background colour shows, stripes and grain, (n, size, size)."""
    along = axis(size)
    pace, phase = chunk.uniform(-2.5, 2.5, 2), chunk.uniform(0, 1)[:, None]
    wave = (pace[:, :1] * along + phase)[:, :, None] + (pace[:, 1:] * along)[:, None, :]
    wave -= np.floor(wave)
    wave += chunk.grain(size) * np.float32(0.25)
    return wave


def _subjects(frame: tuple[Floats, Floats], label: NDArray[np.int64]) -> Floats:
    """Masks in [0, 1] of the shapes, (n, size, size), drawn for all images of one class at once."""
    mask = np.empty_like(frame[0])
    for index in np.unique(label):
        shape, layout = CLASSES[index].split("-")
        rows = np.flatnonzero(label == index)
        u, v = (_folded(side[rows], fold) for side, fold in zip(frame, LAYOUTS[layout], strict=True))
        scale = np.float32(1.4 if layout == "one" else 2.4)
        mask[rows] = soft(SHAPES[shape](u * scale, v * scale), 6)
    return mask


def _folded(side: Floats, fold: bool) -> Floats:
    return np.abs(side) - np.float32(0.5) if fold else side


def _blend(ground: Floats, colour: Floats, texture: Floats, mask: Floats) -> Floats:
    """Colour planes (n, 3, size, size) of the subject over the background."""
    apart = np.where(np.abs(colour - ground.mean(1)).max(1, keepdims=True) < 0.3, 1 - ground.mean(1), colour)
    planes = np.empty((len(mask), 3, *mask.shape[1:]), np.float32)
    for channel in range(3):
        plane = planes[:, channel]
        np.multiply(texture, (ground[:, 1] - ground[:, 0])[:, channel, None, None] * np.float32(0.6), out=plane)
        plane += ground[:, 0, channel, None, None]
        plane += mask * (apart[:, channel, None, None] - plane)
    return planes
