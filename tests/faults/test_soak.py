"""An hour of experiments with a fault every 20 seconds: nothing is lost, and memory, descriptors and threads of the API
and of the workers stay what they were.

`TRANSFUSION_SOAK_MINUTES` (60) says for how long. The API and the workers themselves are not killed here, which
`test_torment.py` does: what grows in a process is seen only while it lives. All else dies around them.
"""

import os
import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest

from platforms import SOAK
from tormentor import Service, Tormentor, patiently, service
from trials import DISTINCT, all_end, check_service, succeeded_once, trial, trials

MINUTES = float(os.environ.get("TRANSFUSION_SOAK_MINUTES", "60"))
EVERY_SECONDS = 20.0
LOOK_SECONDS = 2.0
KILLERS = ("kill_worker", "kill_api", "stop_worker_softly")
MEMORY_GROWTH, MORE_DESCRIPTORS, MORE_THREADS = 1.1, 6, 4
"""From the second quarter of the time to the last, by medians: descriptors and threads come and go with requests."""
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not SOAK, reason="an hour: make soak"),
    pytest.mark.timeout(1200 + 90 * MINUTES),
]


@dataclass(frozen=True)
class Look:
    """What a process holds at a moment."""

    memory_mb: float
    descriptors: int
    threads: int


def _look(pid: int) -> Look:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    return Look(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list(Path(f"/proc/{pid}/fd").iterdir())), threads)


class Watch:
    """Looks at the API and the workers again and again, in a thread."""

    def __init__(self, running: Service) -> None:
        self._pids = {name: process.pid for name, process in running.processes.items()}
        self.seen: dict[str, list[Look]] = defaultdict(list)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            for name, pid in self._pids.items():
                self.seen[name].append(_look(pid))

    def quarters(self, name: str) -> tuple[Look, Look]:
        """The medians of the second quarter of the time, and of the last."""
        looks = self.seen[name]
        quarter = len(looks) // 4
        return _median(looks[quarter : 2 * quarter]), _median(looks[-quarter:])


def _median(looks: list[Look]) -> Look:
    return Look(
        statistics.median(each.memory_mb for each in looks),
        round(statistics.median(each.descriptors for each in looks)),
        round(statistics.median(each.threads for each in looks)),
    )


def test_a_fault_every_twenty_seconds_loses_nothing_and_nothing_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path) as running, running.client() as client:
        twins = [client.experiments.create(trial(number)).id for number in range(DISTINCT)]
        all_end(client, twins)
        pids, end = running.workers(), time.monotonic() + 60 * MINUTES
        with Watch(running) as watch, Tormentor(running, seed=0, every_seconds=EVERY_SECONDS, spared=KILLERS) as acts:
            made = trials(client, lambda made: made < DISTINCT or time.monotonic() < end, seed=0)
        patiently(lambda: succeeded_once(client, [*twins, *made]))
        check_service(running, monkeypatch, len(made))
        print(f"\n{len(made)} experiments in {MINUTES:g} minutes, {acts.done.total()} faults: {dict(acts.done)}")
        assert running.workers() == pids
    for name in watch.seen:
        early, late = watch.quarters(name)
        print(f"{name}: {early} -> {late}")
        assert late.memory_mb <= MEMORY_GROWTH * early.memory_mb, name
        assert late.descriptors <= early.descriptors + MORE_DESCRIPTORS, name
        assert late.threads <= early.threads + MORE_THREADS, name
