"""Which tokens of a transformer are places of the image, in which of its layers: told by timm's own networks."""

import pytest
import torch
from torch import Tensor

from transfusion_core.science.models.build import build_random
from transfusion_core.science.models.catalogue import on_meta
from transfusion_core.science.models.layers import probe
from transfusion_core.science.models.tokens import class_token_layers, has_class_token, prefix_tokens, without_prefix
from transfusion_core.science.similarity import samples
from transfusion_core.specs.model import CLASS_TOKEN, catalogue, layer_names

NETWORKS = [
    ("vit_tiny_patch16_224", 1, True),
    ("deit_tiny_distilled_patch16_224", 2, True),
    ("vit_base_patch16_reg4_gap_256", 4, False),
    ("vit_base_patch16_siglip_gap_224", 0, False),
    ("beit_base_patch16_224", 1, True),
    ("eva02_tiny_patch14_224", 1, True),
    ("vit_base_patch16_rope_reg1_gap_256", 1, False),
    ("vit_small_patch16_dinov3", 5, True),
    ("vit_relpos_medium_patch16_cls_224", 1, True),
    ("vit_relpos_medium_patch16_224", 0, False),
    ("mvitv2_base_cls", 1, True),
    ("naflexvit_base_patch16_parfac_gap", 4, False),
    ("coat_tiny", 1, True),
    ("swin_tiny_patch4_window7_224", 0, False),
    ("resnet18", 0, False),
]


@pytest.mark.parametrize(("name", "prefix", "has_class"), NETWORKS)
def test_every_family_says_how_many_tokens_are_no_places(name: str, prefix: int, has_class: bool) -> None:
    entry = catalogue()[name]
    model = on_meta(name, entry.default_image_size)
    assert (prefix_tokens(model), has_class_token(model)) == (prefix, has_class)
    found = class_token_layers(model, probe(model, image_size=entry.default_image_size))
    assert entry.class_token_layers == [layer for layer in entry.layers if layer in found]
    assert bool(entry.class_token_layers) == has_class


@pytest.mark.parametrize(
    ("name", "with_it", "without"),
    [
        ("cait_xxs24_224", [], ["blocks.1"]),
        ("xcit_nano_12_p16_224", ["cls_attn_blocks.0.attn.k"], ["blocks.0", "cls_attn_blocks.0.attn.proj"]),
        ("convit_tiny", ["blocks.10", "blocks.11"], ["blocks.0", "blocks.9"]),
        ("volo_d1_384", ["post_network.0.attn.kv"], ["post_network.0.attn.q"]),
        ("naflexvit_so150m2_patch16_reg1_map", [], ["embeds.proj", "attn_pool.q"]),
    ],
)
def test_the_shape_of_a_layer_tells_whether_it_has_them(name: str, with_it: list[str], without: list[str]) -> None:
    entry = catalogue()[name]
    model = on_meta(name, entry.default_image_size)
    assert set(with_it) <= set(entry.class_token_layers)
    assert not set(without) & set(entry.class_token_layers)
    assert set(without) <= without_prefix(model, image_size=entry.default_image_size)
    assert not set(with_it) & without_prefix(model, image_size=entry.default_image_size)


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224", "deit_tiny_distilled_patch16_224"])
def test_the_first_tokens_do_not_see_the_image_before_the_blocks_and_the_class_token_leads(name: str) -> None:
    size = catalogue()[name].min_image_size
    model = build_random(name, classes=2, image_size=size, seed=0).eval()

    def tokens(images: Tensor) -> Tensor:
        seen: list[Tensor] = []
        handle = model.get_submodule("blocks.0").register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )
        with handle, torch.no_grad():
            model(images)
        return seen[0]

    first, other = (tokens(torch.full((1, 3, size, size), grey)) for grey in (0.1, 0.9))
    moved = (first != other).any(-1)[0]
    assert moved.tolist() == [place >= prefix_tokens(model) for place in range(len(moved))]
    with torch.no_grad():
        model.get_parameter("cls_token").add_(1)
    assert (tokens(torch.full((1, 3, size, size), 0.1)) != first).any(-1)[0].nonzero().flatten().tolist() == [0]


def test_the_catalogue_offers_class_tokens_of_transformers_alone() -> None:
    offering = {entry.family for entry in catalogue().values() if entry.class_token_layers}
    assert offering == {
        "beit", "coat", "convit", "deit", "eva", "mvitv2", "naflexvit", "vision_transformer",
        "vision_transformer_relpos", "volo", "xcit",
    }  # fmt: skip
    for entry in catalogue().values():
        assert set(entry.class_token_layers) <= set(entry.layers), entry.name
        assert not [layer for layer in entry.class_token_layers if layer.startswith("patch_embed")], entry.name


def test_a_class_token_is_named_as_the_engine_names_it() -> None:
    assert CLASS_TOKEN == samples.CLASS_TOKEN
    assert layer_names(["a", "b"], ["b"]) == ["a", "b", "b[class]"]
    assert "blocks.3[class]" in catalogue()["vit_tiny_patch16_224"].layer_names
    assert catalogue()["resnet18"].layer_names == catalogue()["resnet18"].layers
