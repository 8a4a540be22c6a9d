"""Weight files by their bytes: each that is broken, hostile or none at all has its own error, and runs nothing."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

import bad_weights
from transfusion_core.science.inits.source_errors import SourceUnreadable
from transfusion_core.science.inits.sources import load_weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["w.safetensors", "w", "w.pth"])
def test_safetensors_come_back_as_written_whatever_they_are_called(tmp_path: Path, name: str) -> None:
    assert same(load_weights(bad_weights.safe(tmp_path / name, TENSORS)), TENSORS)


def test_torch_files_come_back_through_a_child_and_leave_nothing_behind(tmp_path: Path) -> None:
    torch.save({"state_dict": TENSORS, "epoch": 3}, tmp_path / "w")
    (tmp_path / "scratch").mkdir()
    assert same(load_weights(tmp_path / "w", scratch=tmp_path / "scratch"), TENSORS)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path: Path) -> None:
    path = bad_weights.safe(tmp_path / "w", {"a" * (128 - 56): torch.zeros(1)})
    assert path.read_bytes()[0] == 0x80
    assert len(load_weights(path)) == 1


def test_loaded_tensors_are_independent_of_their_file(tmp_path: Path) -> None:
    path = bad_weights.safe(tmp_path / "w.safetensors", TENSORS)
    found = load_weights(path)
    with path.open("r+b") as file:
        file.seek(-24, 2)
        file.write(b"\xff" * 24)
    assert same(found, TENSORS)


def test_code_in_a_torch_file_does_not_run(tmp_path: Path) -> None:
    path = bad_weights.code(tmp_path / "w.safetensors", creates=tmp_path / "ran")
    with pytest.raises(SourceUnreadable, match=r"w\.safetensors: expected tensors that load without running code"):
        load_weights(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"", "expected a weight file, got an empty one"),
        (b"not weights at all", "got 18 bytes that begin with b'not weights at a'"),
        (b"short", "got 5 bytes that begin with b'short'"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "got a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "got a web page"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "got a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "got a JPEG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "got an HDF5 file"),
        (b"PK\x03\x04broken", "the file is cut off or broken"),
        ((5).to_bytes(8, "little") + b"{nope" + bytes(9), "expected a whole safetensors file, got a broken one"),
        ((2).to_bytes(8, "little") + b"{}", "expected tensors, got none"),
    ],
)
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
def test_what_is_no_weight_file_is_told_by_name(tmp_path: Path, name: str, written: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(written)
    with pytest.raises(SourceUnreadable) as caught:
        load_weights(tmp_path / name)
    assert str(caught.value).startswith(f"{name}: ")
    assert told in str(caught.value)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "folder.pth").mkdir()
    with pytest.raises(SourceUnreadable, match=r"folder\.pth: expected a weight file, got a folder"):
        load_weights(tmp_path / "folder.pth")
    with pytest.raises(SourceUnreadable, match=r"none\.pth: expected a weight file, got none"):
        load_weights(tmp_path / "none.pth")


def test_a_header_that_claims_ten_gigabytes_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(SourceUnreadable, match="inside the file's 17 bytes, it claims 10000000000"):
        load_weights(bad_weights.long_header(tmp_path / "w.safetensors"))


def test_truncated_safetensors_are_broken(tmp_path: Path) -> None:
    whole = bad_weights.safe(tmp_path / "w.safetensors", {"a": torch.zeros(1000)})
    with pytest.raises(SourceUnreadable, match="expected a whole safetensors file, got a broken one"):
        load_weights(bad_weights.truncated(tmp_path / "half.safetensors", whole))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"fine": torch.zeros(2), "bad.weight": torch.tensor([1.0, value]).to(dtype)}, path)
    with pytest.raises(SourceUnreadable, match=r"got NaN or infinity in 'bad\.weight'"):
        load_weights(path)
