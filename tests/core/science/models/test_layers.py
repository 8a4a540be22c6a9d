from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from transfusion_core.science.models.build import build
from transfusion_core.science.models.layers import (
    LAYERS_MAX,
    PROBE_IMAGES,
    STAGES_MAX,
    Probe,
    channels_last_output,
    probe,
    select_layers,
    stages,
)

NETWORKS = [
    ("cbr-large-t", 32),
    ("resnet18", 32),
    ("test_vit", 32),
    ("swin_tiny_patch4_window7_224", 56),
    ("convnext_atto", 32),
    ("mobilenetv2_100", 32),
]


def layers(model: nn.Module, *, image_size: int) -> list[str]:
    return select_layers(model, probe(model, image_size=image_size))


def tapped(model: nn.Module, names: list[str], size: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the real outputs, in the order in which they came."""
    found: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            found[name] = tuple(output.shape)

        return hook

    for name in names:
        model.get_submodule(name).register_forward_hook(note(name))
    with torch.no_grad():
        model.eval()(torch.zeros(2, 3, size, size))
    return found


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_every_layer_can_be_tapped_in_the_order_given(name: str, size: int) -> None:
    model = build(name, classes=4, image_size=size)
    names = layers(model, image_size=size)
    found = tapped(model, names, size)
    assert list(found) == names
    assert all(shape[0] == 2 and len(shape) in (2, 3, 4) for shape in found.values())
    assert [path for path in names if path in stages(model)] == stages(model)


@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_the_channel_axis_is_where_it_is_said_to_be(name: str, size: int) -> None:
    model = build(name, classes=4, image_size=size)
    found = tapped(model, layers(model, image_size=size), size)
    for path, shape in found.items():
        module = model.get_submodule(path)
        width = getattr(module, "out_channels", getattr(module, "out_features", None))
        axis = -1 if len(shape) == 3 or channels_last_output(model, path) else 1
        if width is not None:
            assert shape[axis] == width, path


def test_swin_stages_keep_their_channels_last() -> None:
    model = build("swin_tiny_patch4_window7_224", classes=4, image_size=56)
    assert [channels_last_output(model, path) for path in stages(model)] == [True] * 4
    assert tapped(model, ["layers.0"], 56) == {"layers.0": (2, 14, 14, 96)}


def test_dense_layers_inside_windows_are_no_layers_for_their_samples_are_not_images() -> None:
    model = build("swin_tiny_patch4_window7_224", classes=4, image_size=224)
    assert not [path for path in layers(model, image_size=224) if "attn" in path]


def test_stages_are_the_familiar_ones() -> None:
    with torch.device("meta"):
        assert stages(build("cbr-small", classes=2, image_size=64)) == ["stage1", "stage2", "stage3", "stage4"]
        assert stages(build("resnet18", classes=2, image_size=64)) == ["act1", "layer1", "layer2", "layer3", "layer4"]
        vit = build("vit_tiny_patch16_224", classes=2, image_size=64)
        assert stages(vit) == [f"blocks.{block}" for block in range(12)]


def test_a_deep_transformer_offers_evenly_spaced_blocks_up_to_its_last() -> None:
    with torch.device("meta"):
        found = stages(build("vit_large_patch16_224", classes=2, image_size=64))
    assert len(found) == STAGES_MAX
    assert found[0] == "blocks.1"
    assert found[-1] == "blocks.23"


@pytest.mark.parametrize("name", ["resnet152", "vit_large_patch16_224"])
def test_networks_with_very_many_layers_offer_their_blocks(name: str) -> None:
    with torch.device("meta"):
        model = build(name, classes=2, image_size=64)
    found = layers(model, image_size=64)
    assert len(stages(model)) <= len(found) <= LAYERS_MAX
    assert set(stages(model)) <= set(found)


def test_looking_at_a_network_changes_nothing_in_it() -> None:
    model = build("cbr-tiny", classes=2, image_size=32).train()
    model.get_submodule("stage1").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert probe(model, image_size=32).output == (PROBE_IMAGES, 2)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model.get_submodule("stage1").training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_module_that_runs_twice_or_gives_no_single_tensor_is_no_tap() -> None:
    seen = Probe()
    seen.see("twice", torch.empty(PROBE_IMAGES, 4))
    seen.see("twice", torch.empty(PROBE_IMAGES, 4))
    seen.see("pair", (torch.empty(PROBE_IMAGES, 4), torch.empty(PROBE_IMAGES, 4)))
    seen.see("windows", torch.empty(PROBE_IMAGES * 4, 4))
    seen.see("good", torch.empty(PROBE_IMAGES, 4))
    assert list(seen.taps) == ["good"]
