from pathlib import Path

import pytest
import torch
from torch import nn

from transfusion_core.errors import DataError
from transfusion_core.science.training.checkpoint import load_checkpoint, save_checkpoint


def test_weights_and_metadata_come_back_bit_for_bit(tmp_path: Path) -> None:
    weights = {
        "conv": torch.randn(4, 3, 5, 5).contiguous(memory_format=torch.channels_last),
        "view": torch.arange(10.0)[::2],
        "count": torch.tensor(3),
        "parameter": nn.Parameter(torch.randn(2)),
    }
    save_checkpoint(tmp_path / "w", weights, {"step": "7"})
    found, metadata = load_checkpoint(tmp_path / "w")
    assert metadata == {"step": "7"}
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert all(tensor.is_contiguous() for tensor in found.values())


def test_tied_weights_are_saved_under_both_names(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    save_checkpoint(tmp_path / "w", model.state_dict(), {})
    found, metadata = load_checkpoint(tmp_path / "w")
    assert metadata == {}
    assert torch.equal(found["0.weight"], found["1.weight"])
    model.load_state_dict(found)


def test_loaded_tensors_outlive_their_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "w", {"a": torch.ones(1000)}, {})
    found, _ = load_checkpoint(tmp_path / "w")
    (tmp_path / "w").write_bytes(b"\0" * 5000)
    assert found["a"].sum() == 1000


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"\xff" * 100, lambda b: b[:-1]]
)
def test_a_damaged_file_is_a_data_error_that_names_it(tmp_path: Path, damage) -> None:
    path = tmp_path / "weights.safetensors"
    save_checkpoint(path, {"a": torch.ones(100)}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=r"safetensors file at weights\.safetensors"):
        load_checkpoint(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "nowhere")


def test_what_is_no_tensor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a tensor at 'extra' of the weights, got int"):
        save_checkpoint(tmp_path / "w", {"extra": 3}, {})
