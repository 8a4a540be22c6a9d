import os
import pickle
from pathlib import Path

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch

from transfusion_core.science.inits.initialise import initialise
from transfusion_core.science.inits.sources import (
    SourceUnreachable,
    SourceUnreadable,
    load_weights,
    map_keys,
    timm_weights,
)
from transfusion_core.science.models.build import build_random, head_names
from transfusion_core.specs.init import InitSpec

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}
DATA = Path(os.environ.get("TRANSFUSION_TEST_DATA", Path(__file__).parents[5] / "shared" / "data"))


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_safetensors_come_back_as_written(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "w.safetensors")
    assert same(load_weights(tmp_path / "w.safetensors"), TENSORS)


@pytest.mark.parametrize("name", ["w.pt", "w.pth"])
@pytest.mark.parametrize("container", [None, "state_dict", "model", "model_state_dict"])
def test_torch_files_come_back_out_of_their_container(tmp_path: Path, name: str, container: str | None) -> None:
    torch.save({container: TENSORS, "epoch": 3} if container else TENSORS, tmp_path / name)
    assert same(load_weights(tmp_path / name), TENSORS)


class Runs:
    """A pickle that would run code when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (os.mkdir, ("ran",))


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Runs()}, tmp_path / "w.pth")
    with pytest.raises(SourceUnreadable, match=r"w\.pth: expected tensors that load without running code") as caught:
        load_weights(tmp_path / "w.pth")
    assert isinstance(caught.value.__cause__, pickle.UnpicklingError)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("written", [b"", b"not weights at all", b"PK\x03\x04broken"])
def test_a_broken_file_is_told_by_name(tmp_path: Path, name: str, written: bytes) -> None:
    (tmp_path / name).write_bytes(written)
    with pytest.raises(SourceUnreadable, match=name):
        load_weights(tmp_path / name)


def test_a_missing_file_and_another_kind_of_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match=r"none\.pth"):
        load_weights(tmp_path / "none.pth")
    with pytest.raises(SourceUnreadable, match=r"w\.h5: expected a file called \.safetensors, \.pt or \.pth"):
        load_weights(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        ([1, 2], "expected a state dict of tensors, got list"),
        ({}, "expected a state dict of tensors, got dict"),
        ({"a": 1}, "expected a tensor at 'a', got int"),
        ({"a": torch.tensor([1.0, float("nan")])}, "got NaN or infinity in 'a'"),
        ({"a": torch.tensor([float("inf")])}, "got NaN or infinity in 'a'"),
    ],
)
def test_what_is_no_state_dict_of_finite_tensors_is_refused(tmp_path: Path, saved: object, told: str) -> None:
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(SourceUnreadable, match=told):
        load_weights(tmp_path / "w.pth")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_prefixes_of_wrappers_are_cut_off(prefix: str) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    wrapped = {prefix + name: tensor for name, tensor in model.state_dict().items()}
    assert same(map_keys(wrapped, model), dict(model.state_dict()))


def test_a_prefix_that_is_the_networks_own_or_not_everywhere_stays() -> None:
    model = torch.nn.ModuleDict({"model": torch.nn.Linear(2, 2)})
    assert list(map_keys(model.state_dict(), model)) == ["model.weight", "model.bias"]
    mixed = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert list(map_keys(mixed, torch.nn.Linear(2, 2))) == ["module.a", "b"]
    assert map_keys({}, model) == {}


def test_real_mobilenet_weights_fit_with_every_name_explained() -> None:
    path = DATA / "weights" / "mobilenetv2_100.pth"
    if not path.is_file():
        pytest.skip(f"needs the real weights {path.name} under {path.parent}")
    model = build_random("mobilenetv2_100", classes=5, image_size=32, seed=0)
    source = map_keys(load_weights(path), model)
    init = InitSpec(kind="pretrained", source="s")
    report = initialise(model, init, source=source, source_digest=None, head=head_names(model), seed=0)
    actions = [row.action for row in report.tensors]
    assert (actions.count("copied"), actions.count("random"), len(actions)) == (312, 2, 314)


def mirrored(folder: Path, tag: str, *, seed: int = 5) -> dict[str, torch.Tensor]:
    model = build_random(tag.partition(".")[0], classes=1000, image_size=160, seed=seed)
    safetensors.torch.save_file(model.state_dict(), folder / f"{tag}.safetensors")
    return dict(model.state_dict())


def test_published_weights_come_from_a_mirror_folder(tmp_path: Path) -> None:
    published = mirrored(tmp_path, "test_resnet.r160_in1k")
    assert same(timm_weights("test_resnet.r160_in1k", mirror=tmp_path), published)


def test_published_positions_are_fitted_to_the_image_size(tmp_path: Path) -> None:
    mirrored(tmp_path, "test_vit.r160_in1k")
    found = timm_weights("test_vit.r160_in1k", image_size=32, mirror=tmp_path)
    assert found["pos_embed"].shape == (1, 5, 64)


def test_what_the_mirror_lacks_or_holds_broken_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreachable, match=r"the mirror folder holds no test_resnet\.r160_in1k\.safetensors"):
        timm_weights("test_resnet.r160_in1k", mirror=tmp_path)
    (tmp_path / "test_resnet.r160_in1k.safetensors").write_bytes(b"broken")
    with pytest.raises(SourceUnreadable, match=r"test_resnet\.r160_in1k\.safetensors"):
        timm_weights("test_resnet.r160_in1k", mirror=tmp_path)


def test_a_mirrored_file_of_another_network_is_an_error(tmp_path: Path) -> None:
    safetensors.torch.save_file(TENSORS, tmp_path / "test_resnet.r160_in1k.safetensors")
    with pytest.raises(SourceUnreachable, match="cannot be fetched"):
        timm_weights("test_resnet.r160_in1k", mirror=tmp_path)


def test_without_a_network_the_error_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        SourceUnreachable, match=r"the network is needed, or a mirror folder that holds test_resnet\.r160_in1k"
    ):
        timm_weights("test_resnet.r160_in1k")


def test_a_tag_of_no_architecture_is_an_error() -> None:
    with pytest.raises(SourceUnreachable, match="timm has no architecture 'cbr-tiny'"):
        timm_weights("cbr-tiny.a1_in1k")
