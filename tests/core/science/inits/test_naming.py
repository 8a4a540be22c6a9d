from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from transfusion_core.science.inits.matching import match
from transfusion_core.science.inits.naming import map_keys
from transfusion_core.science.inits.source_errors import SourceUnreadable
from transfusion_core.science.models.build import build_random


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "model.", "module._orig_mod.", "backbone.", "encoder.", "module.encoder_q.", "net."],
)
def test_prefixes_of_wrappers_are_cut_off(prefix: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    wrapped = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    assert same(map_keys(wrapped, model), dict(model.state_dict()))


def test_a_prefix_is_cut_where_it_stands_and_the_rest_stays_to_be_listed() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    kept = {"model.0.weight": torch.zeros(2, 2), "model.0.bias": torch.zeros(2), "loss.weight": torch.zeros(3)}
    assert list(map_keys(kept, model)) == ["0.weight", "0.bias", "loss.weight"]


def test_of_two_networks_in_a_file_the_one_that_fits_is_taken() -> None:
    model = torch.nn.Linear(2, 2)
    both = {"module.encoder_q.weight": 1, "module.encoder_q.bias": 2, "module.encoder_k.weight": 3, "module.queue": 4}
    tensors = {name: torch.tensor(value) for name, value in both.items()}
    assert list(map_keys(tensors, model)) == ["weight", "bias", "module.encoder_k.weight", "module.queue"]


def test_a_prefix_that_is_the_networks_own_or_helps_nothing_stays() -> None:
    model = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2)})
    assert list(map_keys(model.state_dict(), model)) == ["model.weight", "model.bias"]
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert list(map_keys(mixed, torch.nn.Linear(2, 2))) == ["module.a", "b"]
    assert map_keys({}, model) == {}


def test_two_tensors_for_one_name_are_an_error() -> None:
    twice = {"module.weight": torch.zeros(1), "module.bias": torch.zeros(1), "bias": torch.zeros(1)}
    with pytest.raises(SourceUnreadable, match=r"expected one tensor for bias, got two: with 'module\.'"):
        map_keys(twice, torch.nn.Linear(2, 2))


Build = Callable[..., nn.Module]
VIT = {"image_size": 32, "patch_size": 16, "num_layers": 2, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
PAIRS: dict[str, tuple[str, Build, dict[str, object]]] = {
    "resnet": ("resnet18", torchvision.models.resnet18, {}),
    "densenet": ("densenet121", torchvision.models.densenet121, {}),
    "vit": ("vit_tiny_patch16_224", lambda: torchvision.models.VisionTransformer(**VIT), {"img_size": 32, "depth": 2}),
    "swin": ("swin_tiny_patch4_window7_224", torchvision.models.swin_t, {}),
    "convnext": ("convnext_tiny", torchvision.models.convnext_tiny, {}),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_torchvisions_networks_are_timms_under_other_names(pair: str) -> None:
    """Every tensor of theirs has its place, head and all, and the networks then answer alike."""
    name, build, options = PAIRS[pair]
    torch.manual_seed(0)
    theirs, ours = build().eval(), timm.create_model(name, **options).eval()
    with torch.no_grad():
        for tensor in theirs.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim not in (2, 4):  # what is not random already
                tensor.add_(0.02 * torch.randn_like(tensor).abs())  # else zeros and ones could change places unseen
        published = {f"module.{key}": tensor for key, tensor in theirs.state_dict().items()}
        found = match(ours, map_keys(published, ours), head=())
        assert (found.skipped, found.adapted, found.unused) == ({}, {}, [])
        ours.load_state_dict(found.tensors)
        side = 32 if pair == "vit" else 224
        images = torch.randn(1, 3, side, side)
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


def test_the_platforms_own_names_are_never_changed() -> None:
    for name in ("cbr-tiny", "test_vit", "test_resnet"):
        model = build_random(name, classes=2, image_size=32, seed=0)
        assert same(map_keys(model.state_dict(), model), dict(model.state_dict()))
