"""Resizing: near to Pillow's, and the same on every processor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from transfusion_core.science.data.resizing import squared


def _noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(("height", "width", "size"), [(64, 48, 20), (30, 31, 29), (17, 90, 33), (8, 8, 20), (1, 1, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_pillows_to_within_one_step(height: int, width: int, size: int, channels: int) -> None:
    pixels = _noise(height, width, channels)
    image = Image.fromarray(pixels if channels == 3 else pixels[..., 0])
    expected = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)).reshape(size, size, channels)
    found = squared(pixels, size)
    assert found.shape == (size, size, channels)
    assert np.abs(found.astype(int) - expected).max() <= 1


def test_images_of_the_size_keep_their_pixels() -> None:
    pixels = _noise(9, 9)
    np.testing.assert_array_equal(squared(pixels, 9), pixels)


def test_a_grey_image_has_the_pixels_of_one_with_three_equal_channels() -> None:
    grey = _noise(20, 30, 1)
    np.testing.assert_array_equal(squared(grey, 13), squared(grey.repeat(3, axis=2), 13)[..., :1])


def test_images_are_squashed_to_a_square() -> None:
    wide = np.zeros((4, 8, 3), np.uint8)
    wide[:, 4:] = 255
    dark, bright = squared(wide, 2)[0, :, 0].tolist()
    assert (dark < 64, bright > 191) == (True, True)


HASHED = """
import hashlib, numpy as np
from transfusion_core.science.data.resizing import squared
noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
print(hashlib.sha256(b"".join(squared(noise, size).tobytes() for size in (20, 47, 64, 90))).hexdigest())
"""


def test_an_older_processor_gives_the_same_pixels() -> None:
    """Torch has kernels for several; here the plainest is asked for."""

    def hashed(**environment: str) -> str:
        command, whole = [sys.executable, "-c", HASHED], os.environ | environment
        return subprocess.run(command, env=whole, capture_output=True, text=True, check=True, timeout=120).stdout

    assert hashed(ATEN_CPU_CAPABILITY="default") == hashed()
