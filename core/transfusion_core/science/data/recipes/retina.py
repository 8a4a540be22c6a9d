"""demo-retina: fundus-like discs whose grade 0 to 4 is the number of small lesions, and nothing else.

Optic disc, vessels, illumination and tint vary freely and say nothing about the grade, so mean colour does not
solve the task; it is local, as in diabetic retinopathy. The pictures are not medical images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfusion_core.science.data.recipes.canvas import (
    CHUNK,
    Chunk,
    Drawn,
    Floats,
    axis,
    chunks,
    ellipse,
    soft,
    to_bytes,
)

CLASSES = ["0", "1", "2", "3", "4"]
GRADE_SHARES = (0.35, 0.15, 0.20, 0.15, 0.15)
FEWEST = np.array([0, 1, 4, 8, 15])
MOST = np.array([0, 2, 6, 12, 22])
"""Lesions per grade; the gap between 2 and 4 makes "grade >= 2" a clear question."""

CELLS = 8
"""Lesions lie in cells of a grid of this side, one per cell at most: they never cover one another."""
EXUDATE = np.array([0.14, 0.25, 0.14], np.float32)
HAEMORRHAGE = -EXUDATE
"""Bright and dark cancel on average: no sum over the picture counts the lesions, only a detector of both kinds does."""
VESSELS = 4
_RECIPE = 1


@dataclass(frozen=True)
class Lesions:
    """Places and kinds, (n, MOST[-1]); the first `count[i]` of image i are drawn."""

    count: NDArray[np.int64]
    x: Floats
    y: Floats
    radius: Floats
    strength: Floats
    bright: NDArray[np.bool_]


def draw(images: int, *, seed: int, size: int) -> Iterator[Drawn]:
    """Draw `images` pictures of `size` pixels; labels are grades. The first k are the same whatever `images` is."""
    for chunk in chunks(images, seed=seed, recipe=_RECIPE):
        grade = np.searchsorted(np.cumsum(GRADE_SHARES[:-1]), chunk.uniform(0, 1), side="right")
        yield Drawn(to_bytes(_picture(chunk, grade, size)), grade.astype(np.int64), list(CLASSES))


def _picture(chunk: Chunk, grade: NDArray[np.int64], size: int) -> Floats:
    lesions = _lesions(chunk, grade)
    side = chunk.integers(0, 2).astype(np.float32) * np.float32(2) - np.float32(1)  # left or right eye
    disc_x, disc_y = side * chunk.uniform(0.35, 0.6), chunk.uniform(-0.15, 0.15)
    tint = chunk.uniform(0.85, 1.15, 3) * np.array([0.72, 0.38, 0.18], np.float32)
    radius = chunk.uniform(0.14, 0.19)
    optic = soft(ellipse(size, x=disc_x, y=disc_y, radius_x=radius, radius_y=radius * np.float32(1.15)), 1.5)
    light = _light(chunk, size)
    light *= _vessels(chunk, disc_x, disc_y, size)
    rim = np.full(chunk.count, 0.97, np.float32)
    shift_x, shift_y = chunk.uniform(-0.03, 0.03), chunk.uniform(-0.03, 0.03)
    field = soft(ellipse(size, x=shift_x, y=shift_y, radius_x=rim, radius_y=rim), 12)
    light += chunk.grain(size) * np.float32(0.05)
    light *= field
    planes = np.empty((chunk.count, 3, size, size), np.float32)
    for channel, glow in enumerate((0.22, 0.34, 0.22)):
        np.multiply(light, tint[:, channel, None, None], out=planes[:, channel])
        planes[:, channel] += optic * np.float32(glow)
    _paint(planes, lesions)
    return planes


def _light(chunk: Chunk, size: int) -> Floats:
    """Uneven illumination: a brightness, a slope in each direction and a fall towards the rim, (n, size, size)."""
    along = axis(size)
    spans = ((0.8, 1.15), (-0.2, 0.2), (-0.2, 0.2), (0, 0.2))
    level, slope_x, slope_y, fall = (chunk.uniform(*span)[:, None] for span in spans)
    across: Floats = slope_x * along - fall * along**2
    down: Floats = level + slope_y * along - fall * along**2
    light: Floats = down[:, :, None] + across[:, None, :]
    return light


def _vessels(chunk: Chunk, disc_x: Floats, disc_y: Floats, size: int) -> Floats:
    """Transmission of dark parabolas with their vertex at the optic disc, (n, size, size) in [0, 1]."""
    along = axis(size)
    curve = chunk.uniform(0.5, 1.6, VESSELS) * np.sign(-disc_x)[:, None]
    curve[:, -1] *= np.float32(-0.7)  # the last one runs to the other side
    lean, width = chunk.uniform(-0.35, 0.35, VESSELS), chunk.uniform(0.025, 0.05, VESSELS)
    rise = along - disc_y[:, None]  # (n, h)
    shade = np.zeros((chunk.count, size, size), np.float32)
    for vessel in range(VESSELS):
        centre = disc_x[:, None] + (lean[:, vessel, None] + curve[:, vessel, None] * rise) * rise  # (n, h)
        distance = along - centre[:, :, None]  # (n, h, w)
        np.abs(distance, out=distance)
        distance *= (np.float32(-0.5) / width[:, vessel])[:, None, None]
        distance += np.float32(0.5)
        np.maximum(shade, distance, out=shade)
    shade *= np.float32(-0.7)
    shade += np.float32(1)
    return shade


def _lesions(chunk: Chunk, grade: NDArray[np.int64]) -> Lesions:
    most = int(MOST[-1])
    share = chunk.uniform(0, 1)
    count = FEWEST[grade] + (share * (MOST - FEWEST + 1)[grade]).astype(np.int64)
    middle = (np.arange(CELLS) + 0.5) * (2 / CELLS) - 1
    cell_y, cell_x = (side.ravel() for side in np.meshgrid(middle, middle, indexing="ij"))
    inside = np.flatnonzero(cell_x**2 + cell_y**2 < 0.8**2)
    chosen = inside[np.argsort(chunk.generator.random((CHUNK, inside.size)), axis=1)[: chunk.count, :most]]
    jitter = chunk.uniform(-0.4 / CELLS, 0.4 / CELLS, most, 2)
    return Lesions(
        count=count,
        x=cell_x[chosen].astype(np.float32) + jitter[..., 0],
        y=cell_y[chosen].astype(np.float32) + jitter[..., 1],
        radius=chunk.uniform(0.055, 0.08, most),
        strength=chunk.uniform(0.7, 1.0, most),
        bright=chunk.uniform(0, 1, most) < 0.5,
    )


def _paint(planes: Floats, lesions: Lesions) -> None:
    """Add the lesions to colour planes (n, 3, size, size) in rounds: the k-th lesion of every image at once."""
    size = planes.shape[-1]
    along = axis(size)
    reach = int(np.ceil(0.08 * size / 2)) + 1
    steps = np.arange(-reach, reach + 1)
    for turn in range(int(lesions.count.max(initial=0))):
        rows = np.flatnonzero(lesions.count > turn)
        x, y, radius = lesions.x[rows, turn], lesions.y[rows, turn], lesions.radius[rows, turn]
        columns = np.clip(((x + 1) * (size / 2)).astype(np.int64)[:, None] + steps, 0, size - 1)  # (m, k)
        lines = np.clip(((y + 1) * (size / 2)).astype(np.int64)[:, None] + steps, 0, size - 1)
        across = ((along[columns] - x[:, None]) / radius[:, None]) ** 2
        down = ((along[lines] - y[:, None]) / radius[:, None]) ** 2
        spot = soft(np.float32(1) - down[:, :, None] - across[:, None, :], 2)  # (m, k, k)
        spot *= lesions.strength[rows, turn, None, None]
        colour = np.where(lesions.bright[rows, turn, None], EXUDATE, HAEMORRHAGE)  # (m, 3)
        place = (
            rows[:, None, None, None],
            np.arange(3)[:, None, None],
            lines[:, None, :, None],
            columns[:, None, None, :],
        )
        planes[place] += colour[:, :, None, None] * spot[:, None]
