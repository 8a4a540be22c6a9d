"""demo-chest: chest-film-like grey pictures with five findings, each a local opacity at its anatomical place.

Lungs, heart, ribs, exposure and grain vary freely. Each finding is drawn or not by its own coin; a twentieth of
the labels is missing, as in real label sets. The pictures are not medical images.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from transfusion_core.science.data.recipes.canvas import Chunk, Drawn, Floats, axis, chunks, ellipse, soft

CLASSES = ["atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion"]
SHARES = np.array([0.30, 0.30, 0.25, 0.25, 0.35], np.float32)
"""How often each finding is present."""
MISSING = 0.05
_RECIPE = 2


def draw(images: int, *, seed: int, size: int) -> Iterator[Drawn]:
    """Draw `images` grey pictures of `size` pixels; labels are 1, 0 or NaN.

    The first k are the same whatever `images` is.
    """
    for chunk in chunks(images, seed=seed, recipe=_RECIPE):
        present = chunk.uniform(0, 1, len(CLASSES)) < SHARES
        missing = chunk.uniform(0, 1, len(CLASSES)) < MISSING
        labels = np.where(missing, np.float32(np.nan), present.astype(np.float32))
        film = np.clip(_film(chunk, present, size) * np.float32(255), 0, 255).astype(np.uint8)
        yield Drawn(np.broadcast_to(film[..., None], (*film.shape, 3)), labels, list(CLASSES))


def _film(chunk: Chunk, present: NDArray[np.bool_], size: int) -> Floats:
    """Brightness in about [0, 1], (n, size, size)."""
    shift_x, shift_y = chunk.uniform(-0.06, 0.06), chunk.uniform(-0.06, 0.06)
    width, height = chunk.uniform(0.32, 0.38), chunk.uniform(0.68, 0.8)
    left = soft(ellipse(size, x=shift_x - np.float32(0.45), y=shift_y, radius_x=width, radius_y=height), 4)
    right = soft(ellipse(size, x=shift_x + np.float32(0.45), y=shift_y, radius_x=width, radius_y=height), 4)
    side = chunk.integers(0, 2).astype(bool)  # which lung a one-sided finding takes
    centre = shift_x + np.where(side, np.float32(0.45), np.float32(-0.45))
    opacity = _findings(chunk, present, centre, shift_y, size)
    lungs = np.maximum(left, right, out=left)
    heart = _heart(chunk, present[:, 1], shift_x, shift_y, size)
    air = lungs * (np.float32(1) - heart)
    opacity += _ribs(chunk, size)
    film: Floats = air * opacity
    film -= air * chunk.uniform(0.42, 0.52)[:, None, None]
    film += _exposure(chunk, size)
    film += chunk.grain(size) * np.float32(0.04)
    return film


def _exposure(chunk: Chunk, size: int) -> Floats:
    along, level = axis(size), chunk.uniform(0.62, 0.78)
    slope_x, slope_y = chunk.uniform(-0.08, 0.08), chunk.uniform(-0.08, 0.08)
    across, down = slope_x[:, None] * along, level[:, None] + slope_y[:, None] * along
    light: Floats = down[:, :, None] + across[:, None, :]
    return light


def _heart(chunk: Chunk, large: NDArray[np.bool_], shift_x: Floats, shift_y: Floats, size: int) -> Floats:
    radius = np.where(large, chunk.uniform(0.40, 0.48), chunk.uniform(0.24, 0.30))
    return soft(
        ellipse(size, x=shift_x + np.float32(0.1), y=shift_y + np.float32(0.32), radius_x=radius, radius_y=radius), 4
    )


def _ribs(chunk: Chunk, size: int) -> Floats:
    """Bright bent stripes of height 0.1, (n, size, size)."""
    along = axis(size)
    bend = chunk.uniform(0.1, 0.3)[:, None] * along**2
    phase = chunk.uniform(0, 1)[:, None] + chunk.uniform(3, 4)[:, None] * along
    wave: Floats = phase[:, :, None] + (np.float32(4) * bend)[:, None, :]
    wave -= np.floor(wave)
    wave -= np.float32(0.5)
    np.abs(wave, out=wave)
    wave *= np.float32(0.2)
    return wave


def _findings(chunk: Chunk, present: NDArray[np.bool_], centre: Floats, shift_y: Floats, size: int) -> Floats:
    """Opacity of the four findings that lie in a lung, (n, size, size); `centre` is the x of the lung taken, (n,)."""
    opacity = np.zeros((chunk.count, size, size), np.float32)
    plate = _Spots(
        centre + chunk.uniform(-0.05, 0.05), shift_y + chunk.uniform(0.1, 0.3), chunk.uniform(0.2, 0.28), 0.05
    )
    patch = _Spots(-centre, shift_y - chunk.uniform(0.15, 0.4), chunk.uniform(0.16, 0.24), 0.2)
    _add(opacity, present[:, 0], plate, chunk.uniform(0.3, 0.45))
    _add(opacity, present[:, 2], patch, chunk.uniform(0.28, 0.42))
    haze = chunk.uniform(0.2, 0.3)
    half_width = np.full_like(centre, 0.3)
    for wing in (-0.3, 0.3):
        _add(opacity, present[:, 3], _Spots(np.full_like(centre, wing), shift_y, half_width, 0.45), haze)
    _fill(opacity, present[:, 4], chunk.uniform(0.25, 0.45) + shift_y, centre)
    return opacity


class _Spots:
    """Ellipses, one per image: centres and half widths (n,), one half height for all."""

    def __init__(self, x: Floats, y: Floats, half_width: Floats, half_height: float) -> None:
        self.x, self.y, self.half_width = x, y, half_width
        self.half_height = np.full_like(x, half_height)


def _add(opacity: Floats, present: NDArray[np.bool_], spots: _Spots, strength: Floats) -> None:
    rows = np.flatnonzero(present)
    mask = ellipse(
        opacity.shape[-1],
        x=spots.x[rows],
        y=spots.y[rows],
        radius_x=spots.half_width[rows],
        radius_y=spots.half_height[rows],
    )
    opacity[rows] += soft(mask, 2) * strength[rows, None, None]


def _fill(opacity: Floats, present: NDArray[np.bool_], level: Floats, centre: Floats) -> None:
    """Fluid: everything below a level that rises towards the chest wall (the meniscus), in one lung."""
    rows, along = np.flatnonzero(present), axis(opacity.shape[-1])
    wall = np.sign(centre[rows])[:, None] * along
    surface = level[rows, None] - np.float32(0.3) * np.maximum(wall - np.float32(0.45), 0)  # (m, w)
    depth = soft(along[:, None] - surface[:, None, :], 8)  # (m, h, w)
    opacity[rows] += depth * (wall > 0)[:, None, :] * np.float32(0.4)
