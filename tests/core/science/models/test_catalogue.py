import gzip
import json
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from transfusion_core.science.inits.initialise import INITS
from transfusion_core.science.models import catalogue as made
from transfusion_core.science.models.build import ImageSizeUnfit, build, create, gabor_conv
from transfusion_core.science.models.catalogue import NotCatalogued
from transfusion_core.science.models.cbr import CBR
from transfusion_core.science.models.layers import probe, select_layers, select_stages
from transfusion_core.science.models.tokens import class_token_layers
from transfusion_core.specs.model import catalogue

SAMPLE = [
    "cbr-large-t",
    "cbr-tiny",
    "resnet18",
    "inception_v3",
    "vit_tiny_patch16_224",
    "mobilenetv2_100",
    "swin_tiny_patch4_window7_224",
]


@pytest.mark.parametrize("name", SAMPLE)
def test_the_file_says_what_is_true_of_the_network(name: str) -> None:
    entry = catalogue()[name]
    model = made.on_meta(name, entry.default_image_size)
    seen = probe(model, image_size=entry.default_image_size)
    assert entry.parameters == sum(tensor.numel() for tensor in model.parameters())
    assert [stage.name for stage in entry.stages] == select_stages(model, seen)
    assert entry.layers == select_layers(model, seen)
    with_token = class_token_layers(model, seen)
    assert entry.class_token_layers == [layer for layer in entry.layers if layer in with_token]
    assert ("gabor" in entry.inits) == (gabor_conv(model) is not None)


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "vit_tiny_patch16_224", "densenet121"])
def test_the_least_size_runs_and_the_candidate_below_it_does_not(name: str) -> None:
    entry = catalogue()[name]
    model = made.on_meta(name, entry.min_image_size)
    assert made.runs_at(name, entry.min_image_size, model=model)
    below = [
        size for size in made.sizes(entry.image_size_multiple, entry.default_image_size) if size < entry.min_image_size
    ]
    assert not any(made.runs_at(name, size, model=model) for size in below[-1:])


@pytest.mark.parametrize("name", ["cbr-large-t", "resnet18", "vit_tiny_patch16_224", "mobilenetv2_100"])
def test_a_stages_channels_and_stride_tell_its_real_shape(name: str) -> None:
    entry = catalogue()[name]
    taps = probe(made.on_meta(name, 224), image_size=224).taps
    for stage in entry.stages:
        shape = taps[stage.name]
        if len(shape) == 4:
            assert shape[1:] == (stage.channels, 224 // stage.stride, 224 // stage.stride)
        else:
            assert shape[1:] == (entry.positions(stage, 224) + 1, stage.channels)  # one more: the class token


def test_multiply_adds_are_those_of_the_literature() -> None:
    # 1.82 and 4.09 G: torchvision's table of models for resnet18 and resnet50.
    assert catalogue()["resnet18"].macs == pytest.approx(1.82e9, rel=0.01)
    assert catalogue()["resnet50"].macs == pytest.approx(4.09e9, rel=0.01)


def test_every_entry_can_be_used() -> None:
    for name, entry in catalogue().items():
        assert entry.name == name
        assert entry.stages, name
        assert {stage.name for stage in entry.stages} <= set(entry.layers) or len(entry.layers) >= len(entry.stages), (
            name
        )
        assert len(set(entry.layers)) == len(entry.layers) <= 150, name
        assert 0 < entry.min_image_size <= entry.default_image_size, name
        assert entry.min_image_size % entry.image_size_multiple == 0, name
        assert all(stage.channels > 0 and stage.stride >= 0 for stage in entry.stages), name
        assert all(source.startswith(f"{name}.") for source in entry.sources), name


def test_the_file_holds_the_familiar_networks_and_is_small() -> None:
    assert {*CBR, "resnet50", "inception_v3", "efficientnet_b0", "convnext_tiny"} <= catalogue().keys()
    path = Path(made.spec_of_model.__file__).with_name("catalogue.json.gz")
    assert path.stat().st_size < 480 * 1024


def test_spec_and_torch_side_name_the_same_inits() -> None:
    assert {init for entry in catalogue().values() for init in entry.inits} == set(INITS)


def test_published_sources_are_timms_tags_by_architecture() -> None:
    sources = made.published_sources()
    assert "resnet50.a1_in1k" in sources["resnet50"]
    assert catalogue()["resnet50"].sources == sources["resnet50"]
    assert catalogue()["cbr-tiny"].sources == []
    for name in ("resnet50", "vit_base_patch16_224", "inception_v3"):
        entry = catalogue()[name]
        assert entry.source_inputs == {tag: made.published_input(tag) for tag in entry.sources}
    assert catalogue()["inception_v3"].source_inputs["inception_v3.tf_in1k"].mean == [0.5, 0.5, 0.5]


def test_a_new_entry_is_the_same_as_the_files_and_packs_to_the_same_bytes() -> None:
    entry = made.entry("cbr-tiny", sources=[])
    assert entry == catalogue()["cbr-tiny"]
    packed = made.pack([entry, catalogue()["cbr-small"]])
    assert packed == made.pack([catalogue()["cbr-small"], entry])
    assert [row["name"] for row in json.loads(gzip.decompress(packed))] == ["cbr-small", "cbr-tiny"]


def test_the_command_writes_the_named_models_and_tells_what_it_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(made.spec_of_model, "__file__", str(tmp_path / "model.py"))
    made.main(["cbr-tiny", "halonet26t"])
    rows = json.loads(gzip.decompress((tmp_path / "catalogue.json.gz").read_bytes()))
    assert [row["name"] for row in rows] == ["cbr-tiny"]
    assert "left out: halonet26t: takes no size near 256" in capsys.readouterr().err


def test_every_model_is_tried() -> None:
    assert made.names()[: len(CBR)] == list(CBR)
    assert {"resnet50", "vit_base_patch16_224"} <= set(made.names())


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (nn.Identity(), "its head"),
        (nn.Conv2d(3, 4, 3), "its head"),
    ],
    ids=str,
)
def test_what_has_no_head_is_left_out(monkeypatch: pytest.MonkeyPatch, model: nn.Module, told: str) -> None:
    monkeypatch.setattr(made, "create", lambda *_names, **_options: model)
    with pytest.raises(NotCatalogued, match=told):
        made.entry("cbr-tiny", sources=[])


def test_what_gives_no_logits_or_cannot_be_built_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "create", lambda name, **_options: create(name, classes=5, image_size=224))
    with pytest.raises(NotCatalogued, match=r"gives \(3, 5\), not logits of 1000 classes"):
        made.entry("cbr-tiny", sources=[])

    def fails(*_names: str, **_options: int) -> nn.Module:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(made, "create", fails)
    with pytest.raises(NotCatalogued, match="cbr-tiny: RuntimeError: no such thing"):
        made.entry("cbr-tiny", sources=[])


def test_a_model_that_takes_too_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(*_names: str, **_options: int) -> nn.Module:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            pass
        return nn.Identity()

    monkeypatch.setattr(made, "create", endless)
    monkeypatch.setattr(made, "MODEL_TIMEOUT_SECONDS", 1)
    with pytest.raises(NotCatalogued, match="took longer than 1 seconds"):
        made.entry("cbr-tiny", sources=[])


def test_build_holds_to_the_catalogue() -> None:
    least = catalogue()["densenet121"].min_image_size
    with torch.device("meta"):
        build("densenet121", classes=2, image_size=least)
        with pytest.raises(ImageSizeUnfit):
            build("densenet121", classes=2, image_size=least - 1)
