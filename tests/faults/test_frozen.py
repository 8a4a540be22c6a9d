"""A worker that stands still for longer than its lease is replaced, and when it wakes it writes nothing."""

import os
import signal
from collections.abc import Callable

import pytest

from worker_bench import Bench, Start, is_running, until

pytestmark = [pytest.mark.faults, pytest.mark.parametrize("database", ["postgres"])]


def test_a_worker_that_was_frozen_beyond_its_lease_writes_nothing_when_it_wakes(
    bench: Bench, start: Start, check: Callable[..., None]
) -> None:
    job = bench.add_wait()
    service = {"mode": "service", "lease_seconds": 2.0}
    frozen = start(**service)
    first = bench.pid(0)
    os.kill(frozen.pid, signal.SIGSTOP)
    second = start(**service)
    bench.pid(1)
    bench.go()  # both children have their result, and the frozen one's is in its pipe
    done = bench.ended(job)
    os.kill(frozen.pid, signal.SIGCONT)
    until(lambda: not is_running(first))
    assert (done.state, done.result) == ("succeeded", {"attempt": done.attempt})
    assert done.attempt >= 2
    echo = bench.ended(bench.add("echo"))  # it is well again: one of the two does this
    assert echo.state == "succeeded"
    assert bench.job(job) == done
    check(frozen.pid, second.pid)
