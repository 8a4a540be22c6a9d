"""Pixels of one size: shards, their channels, and moments."""

import numpy as np
import pytest
import torch

from packs import Shelf
from transfusion_core.errors import DataError
from transfusion_core.science.data import batching
from transfusion_core.science.data.pixels import PixelsWriter, mean_std, squares
from transfusion_core.specs.dataset import Pixels


def _images(n: int = 6) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (n, 10, 14, 3), dtype=np.uint8))


def _grey(images: list[np.ndarray]) -> list[np.ndarray]:
    return [image[..., :1].repeat(3, axis=2) for image in images]


def _written(images: list[np.ndarray], size: int) -> tuple[Shelf, Pixels]:
    shelf = Shelf()
    with PixelsWriter(size, shelf) as writer:
        for square in squares(images, size=size, threads=2):
            writer.add_image(square)
        return shelf, writer.pixels()


def test_shards_hold_all_images_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "BATCH_BYTES", 2 * 3 * 5 * 5)
    shelf, pixels = _written(_images(), 5)
    assert [shard.images for shard in pixels.shards] == [2, 2, 2]
    assert (pixels.size, pixels.channels) == (5, 3)
    expected = np.stack(list(squares(_images(), size=5, threads=1)))
    np.testing.assert_array_equal(shelf.pixels(pixels).permute(0, 2, 3, 1).numpy(), expected)


def test_grey_images_have_one_channel() -> None:
    shelf, pixels = _written(_grey(_images()), 5)
    assert (pixels.channels, [shard.channels for shard in pixels.shards]) == (1, [1])
    assert len(shelf.kept["pixels-5-00000.bin"]) == 6 * 5 * 5


def test_grey_images_after_the_first_with_colours_have_three_channels() -> None:
    images = [*_grey(_images(2)), *_images(1), *_grey(_images(2))]
    shelf, pixels = _written(images, 5)
    assert (pixels.channels, [(s.channels, s.images) for s in pixels.shards]) == (3, [(1, 2), (3, 3)])
    found = shelf.pixels(pixels)
    assert [bool((image[0] == image[2]).all()) for image in found] == [True, True, False, True, True]


def test_a_file_that_breaks_in_the_pack_is_an_error(png) -> None:
    with pytest.raises(DataError, match="an image of the pack: not an image"):
        list(squares([png(0), b"text"], size=5, threads=1))


def test_moments_are_those_of_the_pixels_asked_for() -> None:
    images = torch.randint(0, 256, (600, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = torch.arange(0, 600, 2)
    moments = mean_std(images, indices)
    pixels = images[indices].double() / 255
    assert moments.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert moments.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_moments_of_grey_images_are_those_of_three_equal_channels() -> None:
    images = torch.randint(0, 256, (20, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert mean_std(images, torch.arange(20)) == mean_std(images.expand(-1, 3, -1, -1), torch.arange(20))
