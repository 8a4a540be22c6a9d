"""The child process itself: that it converts, that it runs nothing, and that its end is told however it ends."""

import signal
from pathlib import Path

import pytest
import safetensors.torch
import torch

import bad_weights
from transfusion_core.science import apart
from transfusion_core.science.inits import pickled
from transfusion_core.science.inits.pickled import Patience, convert
from transfusion_core.science.inits.source_errors import SourceUnreadable

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.count": torch.tensor(3)}


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch" / "converted.safetensors"


def refusal(path: Path, target: Path, patience: Patience | None = None) -> str:
    with pytest.raises(SourceUnreadable) as caught:
        convert(path, to=target, patience=patience)
    assert list(target.parent.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_converted(tmp_path: Path, target: Path, zipped: bool) -> None:
    torch.save({"state_dict": TENSORS}, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    convert(tmp_path / "w.pth", to=target)
    found = safetensors.torch.load_file(target)
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)
    assert list(target.parent.iterdir()) == [target]


def test_an_archive_that_another_program_packed_anew_is_converted(tmp_path: Path, target: Path) -> None:
    convert(bad_weights.inflated(tmp_path / "w.pth", size_bytes=1000), to=target)
    assert torch.equal(safetensors.torch.load_file(target)["weight"], torch.zeros(1000, dtype=torch.uint8))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_among_tensors_is_named_and_does_not_run(tmp_path: Path, target: Path, zipped: bool) -> None:
    path = bad_weights.code(tmp_path / "w.pth", creates=tmp_path / "ran", zipped=zipped)
    told = refusal(path, target)
    assert told.startswith("w.pth: expected tensors that load without running code: it holds posix.mkdir")
    assert not (tmp_path / "ran").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "ran").exists()  # the payload works where it is let


def test_a_bare_pickle_does_not_run(tmp_path: Path, target: Path) -> None:
    path = bad_weights.bare_pickle(tmp_path / "w.pt", creates=tmp_path / "ran")
    assert "expected tensors that load without running code" in refusal(path, target)
    assert not (tmp_path / "ran").exists()


def test_numbers_that_only_the_file_claims_cost_no_memory(tmp_path: Path, target: Path) -> None:
    path = bad_weights.claiming(tmp_path / "w.pth", stored=10**12, size=(10**12,), stride=(1,))
    assert "expected tensors that load without running code" in refusal(path, target)


def test_a_file_that_takes_for_ever_is_given_up(tmp_path: Path, target: Path) -> None:
    torch.save(TENSORS, tmp_path / "w.pth")
    told = refusal(tmp_path / "w.pth", target, Patience(wall_seconds=0.05))
    assert told == "w.pth: expected tensors within 0.05 seconds, got none: reading was given up"


def test_a_pickle_of_millions_of_steps_runs_out_of_processor_time(tmp_path: Path, target: Path) -> None:
    path = bad_weights.with_pickle(tmp_path / "w.pth", b"\x80\x02" + b"K\x00q\x00" * 8_000_000 + b".")
    assert "took too much processor time" in refusal(path, target, Patience(cpu_seconds=0.1))


def test_a_child_that_dies_is_told_with_its_last_words(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.write_bytes(b"first\nlast \xff words\n")
    told = pickled._fault(-signal.SIGSEGV, said)
    assert told == "expected tensors, but the process that reads the file was killed by SIGSEGV (last � words)"
    said.write_bytes(b"")
    assert "ended with exit code 1 (it said nothing)" in str(pickled._fault(1, said))


def test_a_file_that_is_not_there_is_told(tmp_path: Path, target: Path) -> None:
    assert "it cannot be opened" in refusal(tmp_path / "none.pth", target)


def test_the_child_inherits_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "TRANSFUSION_DATABASE_URL", "HF_TOKEN", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "secret")
    assert "secret" not in apart.environment().values()
