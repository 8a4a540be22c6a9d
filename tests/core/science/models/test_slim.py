"""Slim networks: their sizes worked out by hand."""

import pytest
import torch
from torch import nn

from transfusion_core.science.models.build import build
from transfusion_core.science.models.slim import SlimUnfit
from transfusion_core.specs.init import Slim


def count(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.parameters())


def conv(kernel: int, inputs: int, outputs: int) -> int:
    """A convolution without bias and its batch norm's scale and shift."""
    return kernel**2 * inputs * outputs + 2 * outputs


def basic(inputs: int, width: int, *, shortcut: bool) -> int:
    return conv(3, inputs, width) + conv(3, width, width) + (conv(1, inputs, width) if shortcut else 0)


def bottleneck(inputs: int, planes: int, *, shortcut: bool) -> int:
    body = conv(1, inputs, planes) + conv(3, planes, planes) + conv(1, planes, 4 * planes)
    return body + (conv(1, inputs, 4 * planes) if shortcut else 0)


def slim_resnet18() -> int:
    """After layer2: layer3 128 instead of 256 channels, layer4 256 instead of 512."""
    layer1 = 2 * basic(64, 64, shortcut=False)
    layer2 = basic(64, 128, shortcut=True) + basic(128, 128, shortcut=False)
    layer3 = basic(128, 128, shortcut=True) + basic(128, 128, shortcut=False)  # the stride needs a shortcut
    layer4 = basic(128, 256, shortcut=True) + basic(256, 256, shortcut=False)
    return conv(7, 3, 64) + layer1 + layer2 + layer3 + layer4 + 256 * 5 + 5


def slim_resnet50() -> int:
    """After layer2, as in the paper: planes 128 and 256 instead of 256 and 512; four times as many after a block."""
    layer1 = bottleneck(64, 64, shortcut=True) + 2 * bottleneck(256, 64, shortcut=False)
    layer2 = bottleneck(256, 128, shortcut=True) + 3 * bottleneck(512, 128, shortcut=False)
    layer3 = bottleneck(512, 128, shortcut=True) + 5 * bottleneck(512, 128, shortcut=False)
    layer4 = bottleneck(512, 256, shortcut=True) + 2 * bottleneck(1024, 256, shortcut=False)
    return conv(7, 3, 64) + layer1 + layer2 + layer3 + layer4 + 1024 * 5 + 5


@pytest.mark.parametrize(
    ("name", "prefix", "width", "parameters"),
    [
        # 25 (3x32 + 32x64 + 64x64 + 64x128) + 2 (32 + 64 + 64 + 128) + 128x5 + 5
        ("cbr-tiny", "stage2", 0.5, 362_021),
        # 25 (3x32 + 32x16 + 16x32 + 32x64) + 2 (32 + 16 + 32 + 64) + 64x5 + 5
        ("cbr-tiny", "stage1", 0.25, 79_813),
        # 49 (3x32 + 32x64 + 64x128 + 128x128) + 2 (32 + 64 + 128 + 128) + 128x5 + 5
        ("cbr-small", "stage3", 0.5, 1_310_629),
        ("resnet18", "layer2", 0.5, slim_resnet18()),
        ("resnet50", "layer2", 0.5, slim_resnet50()),
    ],
)
def test_a_slim_network_has_the_parameters_worked_out_by_hand(
    name: str, prefix: str, width: float, parameters: int
) -> None:
    with torch.device("meta"):
        model = build(name, classes=5, image_size=64, slim=Slim(prefix=prefix, width=width))
    assert count(model) == parameters


def test_the_hand_count_is_that_of_the_whole_resnet18_where_nothing_is_slim() -> None:
    layers = sum(
        basic(inputs, width, shortcut=inputs != width) + basic(width, width, shortcut=False)
        for inputs, width in ((64, 64), (64, 128), (128, 256), (256, 512))
    )
    with torch.device("meta"):
        assert conv(7, 3, 64) + layers + 512 * 5 + 5 == count(build("resnet18", classes=5, image_size=64))


@pytest.mark.parametrize(
    ("name", "prefix"), [("cbr-small", "stage1"), ("resnet26", "act1"), ("resnext50_32x4d", "layer3")]
)
def test_a_slim_network_gives_logits_and_keeps_the_shapes_of_its_prefix(name: str, prefix: str) -> None:
    slim, full = (build(name, classes=4, image_size=64, slim=s) for s in (Slim(prefix=prefix, width=0.5), None))
    assert slim.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    ours, theirs = slim.state_dict(), full.state_dict()
    first = next(iter(ours))
    assert ours[first].shape == theirs[first].shape
    assert count(slim) < count(full)


@pytest.mark.parametrize(
    ("name", "prefix", "width", "told"),
    [
        ("cbr-tiny", "stage4", 0.5, "one of stage1, stage2, stage3, got 'stage4'"),
        ("resnet18", "stage1", 0.5, "one of act1, layer1, layer2, layer3, got 'stage1'"),
        ("vit_tiny_patch16_224", "blocks.0", 0.5, "expected a model of the families cbr and resnet"),
        ("ecaresnet50d_pruned", "layer1", 0.5, "with fixed channels only"),
        ("resnext50_32x4d", "act1", 0.05, "cannot be built with"),
    ],
)
def test_what_cannot_be_slim_is_an_error(name: str, prefix: str, width: float, told: str) -> None:
    with torch.device("meta"), pytest.raises(SlimUnfit, match=told):
        build(name, classes=2, image_size=224, slim=Slim(prefix=prefix, width=width))
