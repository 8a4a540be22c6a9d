import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import functional as reference
from torchvision.transforms.v2.functional import InterpolationMode

from transfusion_core.science.data.sampling import uniform
from transfusion_core.science.training.augmentation import (
    _sampled,
    augment,
    enlarged,
    flipped,
    jittered,
    shifted,
    warped,
)
from transfusion_core.specs.augmentation import Augmentation

ALL = {"flip": True, "rotation": 30, "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4}}
WAYS = {
    "padding": {"crop": {"padding": 5}},
    "padding and flip": {"crop": {"padding": 3}, "flip": True},
    "scale": {"crop": {"scale": [0.3, 0.9]}, "flip": True},
    "rotation": {"rotation": 180},
    "jitter": {"jitter": {"contrast": 0.5}},
    "all, padded": {**ALL, "crop": {"padding": 4}},
    "all, scaled": {**ALL, "crop": {"scale": [0.5, 1]}},
}


def pictures(n: int, *, channels: int = 3, side: int = 12, smooth: bool = False) -> Tensor:
    """Noise; smooth, so that a place between pixels has a colour."""
    noise = torch.randint(0, 256, (n, channels, side, side), generator=torch.Generator().manual_seed(n))
    if not smooth:
        return noise.to(torch.uint8)
    return torch.nn.functional.interpolate(noise[..., ::4, ::4].float(), size=side, mode="bilinear").to(torch.uint8)


def changed(images: Tensor, rows: Tensor, by: Augmentation, *, epoch: int = 3, seed: int = 1) -> Tensor:
    return augment(images[rows], by, draw=lambda purpose: uniform(rows, purpose=purpose, epoch=epoch, seed=seed))


def fixed(**values: float):
    """Draws that are known: 0.5, where nothing is said, changes nothing but a flip."""
    return lambda purpose: torch.tensor([values.get(purpose.replace(" ", "_"), 0.5)], dtype=torch.float64)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("channels", [1, 3])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_neither_order_nor_parts_change_an_image(way: str, channels: int, data) -> None:
    by, images = Augmentation.model_validate(WAYS[way]), pictures(24, channels=channels)
    whole = changed(images, torch.arange(24), by)
    order = torch.tensor(data.draw(st.permutations(range(24))))
    cuts = sorted(data.draw(st.sets(st.integers(1, 23), max_size=4)))
    parts = [changed(images, rows, by) for rows in torch.tensor_split(order, cuts)]
    assert torch.equal(torch.cat(parts), whole[order])


@pytest.mark.parametrize("way", WAYS)
def test_another_epoch_or_seed_draws_anew(way: str) -> None:
    by, images, rows = Augmentation.model_validate(WAYS[way]), pictures(24), torch.arange(24)
    one = changed(images, rows, by)
    for other in (changed(images, rows, by, epoch=4), changed(images, rows, by, seed=2)):
        assert (one != other).flatten(1).any(1).float().mean() > 0.4


@pytest.mark.parametrize("way", WAYS)
def test_pixels_count_alike_as_bytes_and_as_floats(way: str) -> None:
    by, images, rows = Augmentation.model_validate(WAYS[way]), pictures(6), torch.arange(6)
    before = images.clone()
    steps = (changed(images, rows, by).float() - changed(images.float(), rows, by)).abs().max()
    assert steps <= (1 if way == "scale" else 0)  # the one that is done in whole numbers
    assert torch.equal(images, before)


@pytest.mark.parametrize("way", WAYS)
def test_how_images_lie_in_memory_does_not_matter(way: str) -> None:
    by, images, rows = Augmentation.model_validate(WAYS[way]), pictures(6), torch.arange(6)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(changed(images, rows, by), changed(last, rows, by))


@pytest.mark.parametrize("way", WAYS)
def test_grey_images_stay_grey_in_one_channel_and_in_three(way: str) -> None:
    by, grey, rows = Augmentation.model_validate(WAYS[way]), pictures(6, channels=1), torch.arange(6)
    one, three = changed(grey, rows, by).float(), changed(grey.expand(-1, 3, -1, -1), rows, by).float()
    torch.testing.assert_close(three, one.expand(-1, 3, -1, -1), atol=0.1, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_pixels_stay_between_black_and_white(way: str) -> None:
    by, images = Augmentation.model_validate(WAYS[way]), pictures(24)
    found = changed(images, torch.arange(24), by).float()
    assert found.shape == images.shape
    assert found.min() >= 0
    assert found.max() <= 255


def test_nothing_wanted_is_nothing_done() -> None:
    images = pictures(3)
    assert augment(images, Augmentation(), draw=fixed()) is images


def test_bytes_that_only_move_stay_bytes() -> None:
    by = Augmentation.model_validate({"flip": True, "crop": {"padding": 2}})
    assert changed(pictures(5), torch.arange(5), by).dtype == torch.uint8


def test_a_flip_mirrors_the_masked_images_left_to_right_only() -> None:
    images = pictures(3)
    found = flipped(images.permute(0, 2, 3, 1), torch.tensor([True, False, True]))
    expected = [reference.horizontal_flip(images[0]), images[1], reference.horizontal_flip(images[2])]
    for image, other in zip(found, expected, strict=True):
        assert torch.equal(image.permute(2, 0, 1), other)


@settings(max_examples=30, deadline=None)
@given(padding=st.integers(1, 20), channels=st.sampled_from([1, 3]), high=st.integers(1, 9), data=st.data())
def test_a_window_is_what_torchvision_crops_after_padding(padding: int, channels: int, high: int, data) -> None:
    images = torch.randint(0, 256, (4, channels, high, 7), dtype=torch.uint8)
    corner = st.lists(st.integers(0, 2 * padding), min_size=4, max_size=4)
    top, left = data.draw(corner), data.draw(corner)
    found = shifted(images, torch.tensor(top), torch.tensor(left), padding=padding)
    for number, image in enumerate(images):
        expected = reference.crop(reference.pad(image, [padding]), top[number], left[number], high, 7)
        assert torch.equal(found[number].permute(2, 0, 1), expected)


@pytest.mark.parametrize("drawn", [0.0, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("sides", [(12, 12), (10, 14)])
def test_a_rotation_is_torchvisions(drawn: float, sides: tuple[int, int]) -> None:
    image = torch.randint(0, 256, (1, 3, *sides), dtype=torch.uint8).float()
    found = augment(image, Augmentation(rotation=70), draw=fixed(rotation=drawn))
    expected = reference.rotate(image, 70 * (2 * drawn - 1), InterpolationMode.BILINEAR, fill=None)
    torch.testing.assert_close(found, expected, atol=0.05, rtol=0)


@pytest.mark.parametrize(("top", "left"), [(0.0, 0.0), (0.5, 0.25), (0.99, 0.75)])
@pytest.mark.parametrize("mirrored", [0.0, 1.0])
@pytest.mark.parametrize("share", [0.25, 0.4, 1.0])
def test_a_crop_by_scale_is_torchvisions(top: float, left: float, mirrored: float, share: float) -> None:
    image = pictures(1, side=32)
    by = Augmentation.model_validate({"flip": True, "crop": {"scale": [share, share]}})
    found = augment(image, by, draw=fixed(crop_top=top, crop_left=left, flip=mirrored))
    side = round(32 * share**0.5)
    corner = [int(each * (33 - side)) for each in (top, left)]
    expected = reference.resized_crop(image, *corner, side, side, [32, 32], antialias=True)
    assert torch.equal(found, reference.horizontal_flip(expected) if mirrored else expected)


@settings(max_examples=40, deadline=None)
@given(data=st.data(), high=st.integers(2, 40), wide=st.integers(2, 40), channels=st.sampled_from([1, 3]))
def test_a_device_without_whole_numbers_enlarges_boxes_alike(data, high: int, wide: int, channels: int) -> None:
    images = torch.randint(0, 256, (3, channels, high, wide), dtype=torch.uint8)
    boxes = []
    for _ in images:
        height, width = data.draw(st.integers(1, high)), data.draw(st.integers(1, wide))
        boxes.append([data.draw(st.integers(0, high - height)), data.draw(st.integers(0, wide - width)), height, width])
    there = _sampled(images, torch.tensor(boxes))
    here = torch.stack(list(enlarged(images, torch.tensor(boxes)))).permute(0, 3, 1, 2)
    assert there.dtype == torch.uint8
    assert (there.int() - here.int()).abs().max() <= 1


def test_all_moves_at_once_are_one_after_the_other() -> None:
    image = pictures(1, side=32, smooth=True).float()
    by = Augmentation.model_validate({"crop": {"padding": 4}, "flip": True, "rotation": 90})
    found = augment(image, by, draw=fixed(flip=1.0, rotation=1.0, crop_top=0.99, crop_left=0.0))
    window = reference.crop(reference.pad(image, [4]), 8, 0, 32, 32)
    expected = reference.rotate(reference.horizontal_flip(window), 90)
    torch.testing.assert_close(found, expected, atol=0.01, rtol=0)


def test_a_place_beyond_the_border_is_black() -> None:
    image = torch.full((1, 1, 4, 4), 200.0)
    assert warped(image, torch.tensor([[[1.0, 0, 100], [0, 1, 0]]])).max() == 0


@settings(max_examples=30, deadline=None)
@given(factors=st.tuples(*[st.floats(0, 2)] * 3))
def test_a_jitter_is_torchvisions(factors: tuple[float, float, float]) -> None:
    images = pictures(3)
    found = jittered(images, *(torch.full((3,), factor) for factor in factors))
    for image, ours in zip(images, found, strict=True):
        theirs = reference.adjust_brightness(image / 255, factors[0])
        theirs = reference.adjust_contrast(theirs, factors[1])
        theirs = reference.adjust_saturation(theirs, factors[2])
        torch.testing.assert_close(ours, theirs * 255, atol=0.3, rtol=0)


def test_draws_fill_their_ranges_evenly() -> None:
    images = torch.zeros(2000, 1, 3, 3, dtype=torch.uint8)
    images[:, :, 1, 1] = 255
    found = changed(images, torch.arange(2000), Augmentation.model_validate({"crop": {"padding": 1}}))
    share = (found > 0).float().mean((0, 1))  # of windows with the dot at each of the nine places
    torch.testing.assert_close(share, torch.full((3, 3), 1 / 9), atol=0.03, rtol=0)
