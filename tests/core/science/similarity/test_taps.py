"""Taps: outputs of named layers as they were when the layer ran."""

import pytest
import torch
from torch import nn

from transfusion_core.science.similarity import Taps, UnknownLayer
from transfusion_core.science.similarity.taps import evaluating


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Sequential(nn.Linear(4, 2)))


def test_outputs_are_those_of_the_named_layers(network):
    x = torch.randn(5, 3)
    with Taps(network, ["0", "2.0", ""]) as taps:
        result = network(x)
        outputs = taps.take()
    assert torch.equal(outputs["2.0"], result)
    assert torch.equal(outputs[""], result)
    assert not outputs["0"].requires_grad


def test_a_later_in_place_activation_does_not_change_an_output(network):
    x = torch.randn(5, 3)
    with Taps(network, ["0"]) as taps:
        network(x)
        assert torch.equal(taps.take()["0"], network[0](x))


def test_hooks_are_gone_after_the_context_even_after_an_error(network):
    with pytest.raises(RuntimeError, match="stop"), Taps(network, ["0"]) as taps:
        raise RuntimeError("stop")
    network(torch.randn(5, 3))
    assert taps.outputs == {}


def test_unknown_layers_are_named_with_their_neighbours(network):
    with pytest.raises(UnknownLayer, match=r"Sequential has no layer '2\.1'; near to it: 2\.0"):
        Taps(network, ["2.1"])
    with pytest.raises(UnknownLayer, match="near to it: nothing"):
        Taps(network, ["features"])


def test_a_layer_that_did_not_run_is_an_error(network):
    with Taps(network, ["0", "2"]) as taps:
        network[0](torch.randn(5, 3))
        with pytest.raises(UnknownLayer, match="did not run in the forward pass: 2"):
            taps.take()


def test_a_layer_that_puts_out_no_tensor_is_an_error():
    lstm = nn.LSTM(3, 4)
    with Taps(lstm, [""]), pytest.raises(TypeError, match="puts out a tuple, not a tensor"):
        lstm(torch.randn(2, 1, 3))


def test_every_module_gets_its_own_mode_back(network):
    network.train()
    network[2].eval()
    with evaluating(network):
        assert not any(module.training for module in network.modules())
    assert [module.training for module in network.modules()] == [True, True, True, False, False]
