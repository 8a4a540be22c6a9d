"""Faults happen where and as often as the environment asks, and nowhere else."""

import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest

from transfusion_core.faultpoints import FaultPoint, InjectedFault, faultpoint

SOURCE = Path(__file__).parents[2]


def test_nothing_happens_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULT", raising=False)
    faultpoint("step")
    monkeypatch.setenv("FAULT", "upload:raise")
    faultpoint("step")


def test_a_fault_is_raised_or_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "step:raise, upload:sleep:0.05")
    with pytest.raises(InjectedFault, match="'step'"):
        faultpoint("step")
    started = time.monotonic()
    faultpoint("upload")
    assert time.monotonic() - started >= 0.05


def test_a_process_dies_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from transfusion_core.faultpoints import faultpoint; faultpoint('begin'); print('still here')"
    monkeypatch.setenv("FAULT", "begin:kill9")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=SOURCE / "core", check=False)
    assert (done.returncode, done.stdout) == (-9, b"")


def test_once_is_once_among_all_processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FAULT", "step:raise")
    monkeypatch.setenv("FAULT_ONCE", str(tmp_path))
    with pytest.raises(InjectedFault):
        faultpoint("step")
    faultpoint("step")
    assert [file.name for file in tmp_path.iterdir()] == ["step"]


@pytest.mark.parametrize("asked", ["nowhere:raise", "step:explode", "step"])
def test_a_fault_that_nobody_knows_is_an_error(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("FAULT", asked)
    with pytest.raises(ValueError, match="expected FAULT=NAME"):
        faultpoint("step")


def test_a_point_that_is_passed_by_costs_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAULT", raising=False)
    started = time.perf_counter()
    for _ in range(10_000):
        faultpoint("step")
    assert time.perf_counter() - started < 0.5, "50 microseconds each"


def test_each_point_stands_in_the_code_where_it_is_said_to() -> None:
    files = [file for part in ("core", "api", "worker") for file in (SOURCE / part).rglob("*.py")]
    code = "".join(file.read_text() for file in files)
    expected = dict.fromkeys(get_args(FaultPoint), 1)
    expected |= {"step": 3, "upload": 2, "uploaded": 2}  # trainings, ingests and pixels; files, and pieces of a stream
    assert {point: code.count(f'faultpoint("{point}")') for point in get_args(FaultPoint)} == expected


def test_nothing_but_the_environment_asks_for_faults() -> None:
    for part in ("core", "api", "worker", "clients"):
        for file in (SOURCE / part).rglob("*.py"):
            if file.name != "faultpoints.py":
                assert '"FAULT' not in file.read_text(), file
