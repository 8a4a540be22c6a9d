"""What a worker says of its machine."""

import os
from pathlib import Path
from typing import Any

import pytest

from transfusion_core.settings import Settings
from transfusion_worker import equipment as module
from transfusion_worker.equipment import equipment, gpus, memory_bytes
from transfusion_worker.slots import Slots, usable_cores


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program in the place of NVIDIA's that prints these lines."""
    monkeypatch.setattr(module, "visible_gpus", lambda: 2)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def make(script: str) -> Path:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o700)
        return program

    return make


def test_what_there_is_is_told(tmp_path: Path) -> None:
    settings = Settings(cache_dir=tmp_path, device="cpu", slots=3)
    slots = Slots(settings)
    slots.take()
    found = equipment(settings, ["gpu", "cpu"], slots)
    assert (found.slots, found.running, found.gpus) == (3, 1, [])
    assert 1 <= found.cores <= len(os.sched_getaffinity(0))
    assert found.memory_bytes > 1 << 28
    assert found.free_bytes > 0


def test_a_container_has_the_memory_that_it_may_use(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("max\n")
    whole = memory_bytes([limit])
    limit.write_text("123456789\n")
    assert memory_bytes([limit]) == 123456789 < whole
    assert memory_bytes([tmp_path / "nothing"]) == whole


def test_gpus_are_those_that_the_driver_tells_of(driver: Any) -> None:
    driver('echo "NVIDIA A40, 46068, 9216, 93"; echo "NVIDIA A40, 46068, 0, [N/A]"')
    first, second = gpus()
    assert (first.name, first.memory_bytes, first.used_bytes) == ("NVIDIA A40", 46068 << 20, 9216 << 20)
    assert (first.busy, second.busy) == (0.93, 0.0)


def test_only_those_that_are_visible_are_asked_for(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    driver('[ "$3" = --id=1 ] && echo "one, 1, 0, 0"')
    assert [gpu.name for gpu in gpus()] == ["one"]


@pytest.mark.parametrize("script", ["exit 9", "echo words", "echo 'a, b, c, d'"])
def test_a_driver_that_fails_or_babbles_tells_of_none(driver: Any, script: str) -> None:
    driver(script)
    assert gpus() == []


def test_a_driver_that_hangs_is_given_up(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    driver("exec sleep 30")
    assert gpus() == []


@pytest.mark.parametrize(
    ("told", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000"}, 8),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "1600000 100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_a_container_has_the_cores_that_it_has_the_time_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    for name, text in told.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert usable_cores(tmp_path) == cores
