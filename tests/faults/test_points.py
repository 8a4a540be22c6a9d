"""kill -9 of child and supervisor at every named place: the job is done once, and nothing is left behind."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from platforms import SOAK
from transfusion_core.db import jobs
from transfusion_core.faultpoints import FaultPoint
from worker_bench import Bench, Start, is_running, train_job

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("database", ["sqlite", "postgres"] if SOAK else ["sqlite"]),
]
TOLD = ("sweep", "claimed", "result", "applied")
"""Of a supervisor's places those that the short form tries: each costs the start of a worker."""
CHILD = ("begin", "upload", "uploaded", "done")
SUPERVISOR = ("sweep", "before-claim", "claimed", "pointer", "pointed", "memory", "result", "applied")
ON_REQUEST = ("cancel", "release")
ELSEWHERE = ("step", "checkpoint", "created")
"""Places in a real training (test_resume.py) and in the API (test_api.py)."""


def test_every_place_is_tried(database: str) -> None:
    assert sorted((*CHILD, *SUPERVISOR, *ON_REQUEST, *ELSEWHERE)) == sorted(get_args(FaultPoint))


def _asked(folder: Path, *points: str, act: str = "kill9") -> dict[str, str]:
    once = folder / "faults"
    once.mkdir(exist_ok=True)
    return {"FAULT": ",".join(f"{point}:{act}" for point in points), "FAULT_ONCE": str(once)}


def _happened(folder: Path) -> set[str]:
    return {file.name for file in (folder / "faults").iterdir()}


@pytest.mark.parametrize("act", ["kill9", "raise"] if SOAK else ["kill9"])
def test_a_child_that_dies_or_fails_at_any_place_is_replaced(
    bench: Bench, start: Start, check: Callable[..., None], act: str
) -> None:
    echoes = [bench.add("echo") for _ in range(len(CHILD))]
    worker = start(environment=_asked(bench.folder, *CHILD, act=act))
    done = [bench.ended(job) for job in echoes]
    assert [job.state for job in done] == ["succeeded"] * len(echoes)
    assert _happened(bench.folder) == set(CHILD)
    assert sum(job.attempt for job in done) == len(echoes) + len(CHILD)
    assert sum(job.crashes for job in done) == (len(CHILD) if act == "kill9" else 0)
    check(worker.pid)


def test_a_supervisor_that_dies_at_any_place_is_replaced_with_its_child(
    bench: Bench, start: Start, check: Callable[..., None]
) -> None:
    made = [bench.add("steps"), bench.add("train", **train_job(room=9))]
    places = SUPERVISOR if SOAK else TOLD
    environment = _asked(bench.folder, *places)
    deaths = 0
    while len(_happened(bench.folder)) < len(places):
        worker = start(environment=environment, slots=1)
        assert worker.wait(120) == -signal.SIGKILL
        deaths += 1
        check()
    assert deaths == len(places)
    last = start(slots=1)
    assert [bench.ended(job).state for job in made] == ["succeeded"] * 2
    assert bench.job(made[0]).result["steps"] == 5
    assert bench.job(made[1]).result["micro_batch"] == 8
    check(last.pid)


def test_a_supervisor_that_dies_in_a_cancel_or_a_release_leaves_both_to_the_next(
    bench: Bench, start: Start, check: Callable[..., None]
) -> None:
    cancelled, released = bench.add_wait(), bench.add_wait()
    environment = _asked(bench.folder, *ON_REQUEST)
    first = start(environment=environment)
    pids = [bench.pid(0), bench.pid(1)]
    bench.change(cancelled, cancel_requested=True)
    assert first.wait(60) == -signal.SIGKILL
    second = start(environment=environment)
    assert bench.ended(cancelled).state == "cancelled"
    bench.pid(2)
    second.send_signal(signal.SIGTERM)
    assert second.wait(60) == -signal.SIGKILL
    bench.go()
    third = start()
    assert bench.ended(released).state == "succeeded"
    assert not any(map(is_running, pids))
    check(third.pid)


@pytest.mark.skipif(not SOAK, reason="waits for the ends of leases: make soak")
def test_a_fault_of_the_worker_itself_costs_no_job(bench: Bench, start: Start, check: Callable[..., None]) -> None:
    made = [bench.add("steps"), bench.add("train", **train_job(room=9))]
    worker = start(environment=_asked(bench.folder, *SUPERVISOR, act="raise"), slots=1, lease_seconds=2.0)
    assert [bench.ended(job).state for job in made] == ["succeeded"] * 2
    assert _happened(bench.folder) == set(SUPERVISOR)
    assert any("that was asked for" in line for job in made for line in jobs.log(bench.engine, job))
    check(worker.pid)
