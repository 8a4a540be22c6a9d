"""How a network that is compared is run: maps and weights in the order in memory that is fastest, values as always."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from transfusion_core.science.similarity import Network

IMAGES = 6


class ByKeyword(nn.Module):
    """Calls its convolution as few do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, maps):
        return self.inner(input=maps)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 5, padding=2, groups=8), nn.Conv2d(8, 16, 1),
        ByKeyword(nn.Conv2d(16, 16, 3, padding="same")), weight_norm(nn.Conv2d(16, 12, 3, 2, 1)),
        nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.Conv2d(12, 10, 1),
        nn.AdaptiveAvgPool2d(1), nn.Conv2d(10, 10, 1), nn.Flatten(2), nn.Conv2d(IMAGES, 2, 1),
    )  # fmt: skip


def images():
    return torch.randn(IMAGES, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def ran(network, batch):
    """Run it once, for what its last layer puts out."""
    seen = []
    handle = network.model.register_forward_hook(lambda module, given, output: seen.append(output))
    with network.ready():
        network.run(batch, autocast=None)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_network_puts_out_what_it_does_by_itself(model, dtype):
    model = model.to(dtype).eval()
    with torch.inference_mode():
        alone = model(images().to(dtype))
    torch.testing.assert_close(ran(Network(model), images()), alone)


def test_channels_are_innermost_in_memory_but_of_small_maps_that_every_channel_is_read_of(model):
    innermost = {}

    def see(convolution, given, output):
        innermost[convolution] = [
            x.is_contiguous(memory_format=torch.channels_last) for x in (*given, convolution.weight)
        ]

    of_8x8, weighed, of_4x4, each_channel, single = (model[index] for index in (4, 7, 8, 9, 10))
    for convolution in (of_8x8, weighed, of_4x4, each_channel, single):
        convolution.register_forward_hook(see)
    ran(Network(model), images())
    assert innermost[of_8x8] == innermost[each_channel] == [True, True]
    assert innermost[of_4x4] == [False, False]
    assert innermost[weighed][0]
    assert not innermost[single][0]


@pytest.mark.parametrize("fails", [False, True])
def test_weights_and_hooks_are_as_before_when_it_is_done(model, fails):
    before = {name: (weight.data_ptr(), weight.stride()) for name, weight in model.named_parameters()}
    if fails:
        with pytest.raises(RuntimeError, match="channels"):
            ran(Network(model), images()[:, :2])
    else:
        ran(Network(model), images())
    assert {name: (weight.data_ptr(), weight.stride()) for name, weight in model.named_parameters()} == before
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert model.training
    model(images()).sum().backward()
