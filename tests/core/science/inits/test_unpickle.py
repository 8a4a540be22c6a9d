"""What the child makes of a file, asked of it in this process: what it refuses, it refuses without its walls too."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import bad_weights
from transfusion_core.science.inits import pickled, unpickle
from transfusion_core.science.inits.unpickle import Refused, tensors_of

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


def read(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        return tensors_of(file, size_bytes=path.stat().st_size)


def saved(path: Path, held: object, **options: Any) -> Path:
    torch.save(held, path, **options)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("names", [[], ["state_dict"], ["model"], ["model_state_dict"], ["state_dict", "model"]])
def test_tensors_come_out_of_their_containers(tmp_path: Path, names: list[str], zipped: bool) -> None:
    held: Any = TENSORS
    for name in names:
        held = {"epoch": 3, name: held}
    found = read(saved(tmp_path / "w.pth", held, _use_new_zipfile_serialization=zipped))
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_a_container_that_holds_itself_ends(tmp_path: Path) -> None:
    held: dict[str, Any] = {}
    held["model"] = held
    with pytest.raises(Refused, match="expected a tensor at 'model', got dict"):
        read(saved(tmp_path / "w.pth", held))


@pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants")
@pytest.mark.parametrize(
    ("held", "told"),
    [
        ([1, 2], "expected a state dict of tensors, got list"),
        ({}, "expected a state dict of tensors, got an empty one"),
        ({"a": 1}, "expected a tensor at 'a', got int"),
        ({"a": torch.zeros(2).to_sparse()}, "expected a dense tensor of plain numbers at 'a', got float32 sparse_coo"),
        ({"a": torch.zeros(2, device="meta")}, "got float32 strided on meta"),
        ({"a": torch.zeros(2, dtype=torch.complex64)}, "got complex64"),
    ],
)
def test_what_is_no_state_dict_of_plain_tensors_is_refused(tmp_path: Path, held: object, told: str) -> None:
    with pytest.raises(Refused, match=told):
        read(saved(tmp_path / "w.pth", held))


def test_an_archive_that_inflates_is_refused_before_it_does(tmp_path: Path) -> None:
    path = bad_weights.inflated(tmp_path / "w.pth", size_bytes=100_000_000)
    assert path.stat().st_size < 1_000_000
    with pytest.raises(Refused, match=r"claims more than 4 times the \d+ bytes of its file"):
        read(path)


def test_a_tensor_that_repeats_its_numbers_a_billion_times_is_refused(tmp_path: Path) -> None:
    path = bad_weights.claiming(tmp_path / "w.pth", stored=4, size=(100_000, 100_000), stride=(0, 0))
    with pytest.raises(Refused, match="it claims 40000000000"):
        read(path)


@pytest.mark.parametrize(("stored", "size"), [(10**12, 10**12), (4, 10**12), (10**12, 4)])
def test_storage_that_is_not_there_is_refused(tmp_path: Path, stored: int, size: int) -> None:
    path = bad_weights.claiming(tmp_path / "w.pth", stored=stored, size=(size,), stride=(1,))
    with pytest.raises((RuntimeError, ValueError)):
        read(path)


def test_other_archives_and_halves_of_them_are_named(tmp_path: Path) -> None:
    whole = saved(tmp_path / "w.pth", {"a": torch.zeros(1000)})
    with pytest.raises(Refused, match="the file is cut off or broken"):
        read(bad_weights.truncated(tmp_path / "half.pth", whole))
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(Refused, match=r"without data\.pkl"):
        read(tmp_path / "a.npz")


def test_errors_are_one_bounded_line_that_names_the_culprit() -> None:
    told = unpickle._told
    assert told(RuntimeError("[enforce fail at alloc_cpu.cpp:1] .")) == "it takes more memory than 4 times its size"
    assert told(MemoryError()) == "it takes more memory than 4 times its size"
    assert told(ValueError("x\x1b[31m" + "y" * 900 + "\nmore")) == ("x [31m" + "y" * 900)[:500]
    unknown = unpickle.UnpicklingError("WeightsUnpickler error: Unsupported operand 99\nmore")
    assert told(unknown) == "Unsupported operand 99"


def test_every_kind_of_number_is_written_as_safetensors_reads_it(tmp_path: Path) -> None:
    tensors = {str(dtype): torch.tensor([[0, 1], [1, 0]]).to(dtype) for dtype in unpickle.DTYPES}
    tensors["scalar"], tensors["none"], tensors["turned"] = torch.tensor(7), torch.zeros(0, 3), torch.rand(3, 4).T
    with (tmp_path / "w.safetensors").open("wb") as file:
        unpickle._write(file, tensors)
    found = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)
        assert torch.equal(found[name].double(), tensor.double())
    header = (tmp_path / "w.safetensors").read_bytes()
    assert json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])["none"]["shape"] == [0, 3]


def test_both_sides_mean_the_same_by_a_refusal() -> None:
    assert pickled.REFUSED == unpickle.REFUSED
    assert unpickle.__name__ == pickled.CHILD
