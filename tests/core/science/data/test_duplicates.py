"""Images that are there more than once, planted among others."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from transfusion_core.science.data.duplicates import BLOCK, Fingerprint, exact_groups, fingerprint, near_groups
from transfusion_core.science.data.recipes import RECIPES
from transfusion_core.science.data.recipes.canvas import Drawn


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return Image.open(file).convert("RGB")


def _noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    return _lit(pixels + np.random.default_rng(0).normal(0, 4, pixels.shape))


def _lit(pixels: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg": _jpeg,
    "brighter": lambda image: _lit(np.asarray(image) * 1.15),
    "smaller": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.BILINEAR),
    "noisy": _noisy,
}


def drawn(name: str, images: int = 300) -> list[Image.Image]:
    pixels = Drawn.whole(RECIPES[name](images, seed=3, size=64)).images
    return [Image.fromarray(each if each.shape[2] == 3 else each[..., 0]).convert("RGB") for each in pixels]


def prints(images: list[Image.Image]) -> list[Fingerprint]:
    return [fingerprint(image) for image in images]


@pytest.mark.parametrize("name", ["demo-retina", "demo-chest"])
def test_different_pictures_of_one_look_are_no_duplicates(name: str) -> None:
    found = prints(drawn(name))
    assert exact_groups(found) == near_groups(found) == []


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["demo-retina", "demo-chest"])
def test_changed_copies_are_found_beside_what_they_are_copies_of(name: str, change: str) -> None:
    images = drawn(name)
    copies = [CHANGES[change](images[place]) for place in range(0, 60, 3)]
    groups = near_groups(prints(images + copies))
    planted = [[place, 300 + number] for number, place in enumerate(range(0, 60, 3))]
    assert all(group in planted for group in groups)
    assert len(groups) >= 0.9 * len(planted)


def test_copies_of_the_same_pixels_are_exact_and_stand_with_near_ones() -> None:
    images = drawn("demo-retina", 60)
    found = prints([*images, images[7], images[9], CHANGES["jpeg"](images[9]), images[7]])
    assert exact_groups(found) == [[7, 60, 63], [9, 61]]
    assert near_groups(found) == [[9, 61, 62]]


def test_flat_images_are_alike_only_where_they_are_the_same() -> None:
    flat = [Image.new("RGB", (8, 8), (level, level, level)) for level in (0, 90, 90, 255)]
    found = prints(flat)
    assert exact_groups(found) == [[1, 2]]
    assert near_groups(found) == []


def test_one_image_and_none_have_no_groups() -> None:
    one = prints([Image.new("RGB", (8, 8))])
    assert near_groups([]) == near_groups(one) == near_groups(one * 2) == exact_groups([]) == []


def test_more_images_than_a_block_and_more_pairs_than_images_are_joined() -> None:
    """Many copies of few pictures with a little noise each: every pair within a group is alike."""
    pictures = drawn("demo-retina", 40)
    images = [CHANGES["brighter"](pictures[place % 40]) for place in range(40)]
    thumbnails = [fingerprint(image).thumbnail for image in images]
    count = BLOCK + 500
    found = [Fingerprint(str(place).encode(), thumbnails[place % 40]) for place in range(count)]
    told: list[tuple[int, int]] = []
    groups = near_groups(found, on_block=lambda done, blocks: told.append((done, blocks)))
    assert sorted(groups) == [list(range(place, count, 40)) for place in range(40)]
    assert told == [(1, 2), (2, 2)]


def test_real_fundus_photographs_hold_duplicates_of_one_grade(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    """What RetinaMNIST is known to hold by eye: pairs of all but the same pixels, each with one label, in one split."""
    arrays = np.load(real_data("retinamnist.npz"))
    splits = ("train", "val", "test")
    images = [Image.fromarray(each) for split in splits for each in arrays[f"{split}_images"]]
    labels = [int(each) for split in splits for each in arrays[f"{split}_labels"].ravel()]
    found = prints(images)
    groups = near_groups(found)
    assert exact_groups(found) == []
    assert len(groups) == 28
    assert all(len(group) == 2 and labels[group[0]] == labels[group[1]] for group in groups)
