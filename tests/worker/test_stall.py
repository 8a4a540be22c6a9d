"""What is a hang: silence, longer than a kind's least and longer than twenty of its steps."""

from typing import Any, get_args

import pytest

from transfusion_core.specs.job import JobKind, Reason
from transfusion_worker.policy import POLICIES
from transfusion_worker.stall import LEAST_SECONDS, OTHERS_SECONDS, StallWatch


class Clock:
    """A clock that is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def _progress(step: int, phase: str = "train") -> dict[str, Any]:
    return {"progress": {"phase": phase, "step": step}}


@pytest.mark.parametrize("kind", get_args(JobKind))
def test_silence_is_a_hang_after_ten_minutes_of_a_training_and_hours_of_others(kind: str) -> None:
    clock = Clock()
    watch = StallWatch(kind, clock=clock)
    assert watch.limit_seconds == (600 if kind == "train" else OTHERS_SECONDS)
    clock.now = watch.limit_seconds
    assert not watch.is_stalled()
    clock.now += 1
    assert watch.is_stalled()
    watch.heard({"log": "still here"})
    assert not watch.is_stalled()


def test_slow_steps_are_given_twenty_times_their_median() -> None:
    clock = Clock()
    watch = StallWatch("train", clock=clock)
    watch.heard(_progress(0))
    for step, seconds in ((2, 100), (4, 140), (6, 5000), (8, 180)):  # of two steps each: 50, 70, 2500 and 90 s
        clock.now += seconds
        watch.heard(_progress(step))
    assert watch.limit_seconds == 20 * 80
    clock.now += 1600
    assert not watch.is_stalled()
    clock.now += 1
    assert watch.is_stalled()


def test_another_phase_or_a_step_back_says_nothing_of_the_pace() -> None:
    clock = Clock()
    watch = StallWatch("train", clock=clock)
    for message in (_progress(9, "read"), _progress(10), _progress(0), _progress(0)):
        clock.now += 500
        watch.heard(message)
    assert watch.limit_seconds == LEAST_SECONDS["train"]


def test_every_reason_has_its_policy() -> None:
    assert set(POLICIES) == set(get_args(Reason))
