"""Shuffled blocks, and what networks that really learned texture or shape make of them."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from transfusion_core.science.robustness.blocks import block_shuffled, shuffle_blocks

SIDE, N, TRAIN = 32, 360, 240


def pictures(n: int = 4, side: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def tiles(image: torch.Tensor, size: int) -> list[bytes]:
    """The blocks of an image (c, h, h), each as bytes."""
    parts = image.unfold(1, size, size).unfold(2, size, size)  # (c, g, g, size, size)
    return [part.contiguous().numpy().tobytes() for row in parts.transpose(0, 1) for part in row.transpose(0, 1)]


@pytest.mark.parametrize("blocks", [2, 4, 8])
def test_blocks_change_their_places_and_nothing_else(blocks):
    images = pictures()
    shuffled = shuffle_blocks(images, blocks=blocks, rows=torch.arange(4), seed=0)
    for before, after in zip(images, shuffled, strict=True):
        assert sorted(tiles(before, 16 // blocks)) == sorted(tiles(after, 16 // blocks))
    assert not shuffled.equal(images)


def test_one_block_is_the_image():
    images = pictures()
    assert shuffle_blocks(images, blocks=1, rows=torch.arange(4), seed=0).equal(images)


def test_the_order_is_of_the_image_and_the_seed_whatever_the_batch():
    images = pictures()
    whole = shuffle_blocks(images, blocks=4, rows=torch.arange(4), seed=0)
    part = shuffle_blocks(images[2:], blocks=4, rows=torch.arange(2, 4), seed=0)
    assert part.equal(whole[2:])
    assert not shuffle_blocks(images, blocks=4, rows=torch.arange(4), seed=1).equal(whole)
    twins = images[:1].expand(2, -1, -1, -1)
    first, second = shuffle_blocks(twins, blocks=4, rows=torch.arange(2), seed=0)
    assert not first.equal(second)


def test_a_rim_that_no_block_fills_stays():
    images = pictures(side=19)
    shuffled = shuffle_blocks(images, blocks=4, rows=torch.arange(4), seed=0)  # 4 blocks of 4: 3 pixels are left
    inside = torch.zeros(19, 19, dtype=torch.bool)
    inside[1:17, 1:17] = True
    assert shuffled[..., ~inside].equal(images[..., ~inside])
    assert not shuffled[..., inside].equal(images[..., inside])


@pytest.fixture
def texture(make_data):
    """The class is a fine pattern: noise along rows or along columns, everywhere alike."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 2
    fine = torch.randint(0, 2, (N, 1, SIDE, 1), generator=draw) * 160.0
    fine = torch.where(labels[:, None, None, None] == 1, fine.transpose(2, 3), fine)
    noise = torch.randint(0, 60, (N, 3, SIDE, SIDE), generator=draw)
    return make_data((fine + noise).to(torch.uint8), labels, train=TRAIN)


@pytest.fixture
def shape(make_data):
    """The class is where two blobs of half the image's side lie: on one diagonal or on the other."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 2
    half = SIDE // 2
    images = torch.randint(0, 60, (N, 3, SIDE, SIDE), generator=draw)
    for image, label in zip(images, labels, strict=True):
        left, right = (0, half) if label else (half, 0)
        image[:, :half, left : left + half] += 150
        image[:, half:, right : right + half] += 150
    return make_data(images.to(torch.uint8), labels, train=TRAIN)


def network() -> nn.Module:
    """Reads places as well as patterns: its head sees a coarse map."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, 8, 3, padding=1, bias=False),
                bn=nn.BatchNorm2d(8),
                relu=nn.ReLU(),
                pool=nn.AdaptiveAvgPool2d(4),
                flat=nn.Flatten(),
                head=nn.Linear(128, 2),
            )
        )


def left(model, data, cpu) -> dict[int, float]:
    scores = block_shuffled(model, data, blocks=[1, 2, 4, 8], task="multiclass", seed=0, device=cpu)
    return {score.blocks: score.auroc for score in scores}


def test_a_network_that_learned_texture_loses_little(texture, taught, cpu):
    found = left(taught(network(), texture, steps=80), texture, cpu)
    assert found[1] > 0.98
    assert all(found[1] - found[blocks] < 0.02 for blocks in (2, 4, 8))


def test_a_network_that_learned_shape_loses_nearly_all(shape, taught, cpu):
    found = left(taught(network(), shape, steps=80), shape, cpu)
    assert found[1] > 0.98
    assert all(found[1] - found[blocks] > 0.4 for blocks in (2, 4, 8))


def test_test_images_of_one_class_say_why_there_is_no_number(shape, cpu):
    shape.labels.zero_()
    (score,) = block_shuffled(network(), shape, blocks=[2], task="multiclass", seed=0, device=cpu)
    assert score.auroc is None
    assert "always positive" in score.reason
