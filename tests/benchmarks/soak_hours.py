"""Hours of a fleet in small: whether the memory of the API and of a worker is flat while experiments come and go.

`FLEET_HOURS` (2) of the real API, a real worker, PostgreSQL and Redis with trainings that do nothing. Experiments are
posted all the time, followed on event streams to their end, listed and looked at on pages. A line tells the memory
every ten minutes; exits 1 where it grew by more than a tenth from a quarter of the time to its end.
"""

import http.client
import json
import os
import sys
import threading
import time
from pathlib import Path

from bench_fleet import _HEADERS, Fleet, _spec, _worker, fleet

SECONDS = 3600 * float(os.environ.get("FLEET_HOURS", "2"))
LINES = 12
FOLLOWERS, READERS = 20, 2
POST_SECONDS, READ_SECONDS = 2.0, 0.5
GROWTH = 1.1
READ = ("/v1/experiments?limit=50", "/v1/runs?limit=50", "/metrics", "/experiments", "/v1/workers", "/healthz")


class Load:
    """What is asked of the API until it is stopped, and how often."""

    def __init__(self, found: Fleet) -> None:
        self.found = found
        self.stopped = threading.Event()
        self.posted: list[str] = []
        self.followed = self.read = 0
        ways = [self.post, *[self.follow] * FOLLOWERS, *[self.look] * READERS]
        self.threads = [threading.Thread(target=way) for way in ways]
        for thread in self.threads:
            thread.start()

    def post(self) -> None:
        """Ten new runs in an experiment, again and again."""
        while not self.stopped.wait(POST_SECONDS):
            made = self.found.ask("POST", "/v1/experiments", _spec(len(self.posted), 10))
            self.posted.append(made["id"])

    def follow(self) -> None:
        """The newest experiment's events, to the last."""
        while not self.stopped.wait(POST_SECONDS):
            if not self.posted:
                continue
            connection = http.client.HTTPConnection("127.0.0.1", self.found.port, timeout=60)
            connection.request("GET", f"/v1/experiments/{self.posted[-1]}/events", headers=_HEADERS)
            answer = connection.getresponse()
            while not self.stopped.is_set() and answer.read1(65536):
                pass
            connection.close()
            self.followed += 1

    def look(self) -> None:
        """Lists, pages and metrics, and one experiment with its report."""
        while not self.stopped.wait(READ_SECONDS):
            some = self.posted[-20:-10]
            paths = READ + tuple(
                path for each in some[:1] for path in (f"/v1/experiments/{each}", f"/experiments/{each}")
            )
            for path in paths:
                connection = http.client.HTTPConnection("127.0.0.1", self.found.port, timeout=60)
                connection.request("GET", path, headers=_HEADERS)
                answer = connection.getresponse()
                answer.read()
                connection.close()
                assert answer.status < 500, (path, answer.status)
                self.read += 1

    def stop(self) -> None:
        """End all of it."""
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def memory_mb(pid: int) -> float:
    """Resident memory of a process, with what it shares: its share alone would depend on how many forks there are."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def fork_server(worker: int) -> int:
    """The child of a worker from which jobs are forked."""
    for tasks in Path(f"/proc/{worker}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            if b"forkserver" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
    raise SystemExit(f"worker {worker} has no fork server")


def main() -> None:
    """The hours."""
    with fleet() as found, _worker(found, 2) as worker:
        load, began, seen = Load(found), time.monotonic(), []
        parts = {"API": found.api, "worker": worker.pid}
        for line in range(1, LINES + 1):
            load.stopped.wait(max(0.0, began + SECONDS * line / LINES - time.monotonic()))
            parts["fork server"] = fork_server(worker.pid)
            now = {name: memory_mb(pid) for name, pid in parts.items()}
            seen.append(now)
            told = ", ".join(f"{name} {each:.0f} MB" for name, each in now.items())
            alive = sum(thread.is_alive() for thread in load.threads)
            print(
                f"{(time.monotonic() - began) / 60:.0f} min: {told}; {len(load.posted)} experiments, "
                f"{found.count('succeeded')} jobs done, {found.count('failed')} failed, {load.followed} streams, "
                f"{load.read} answers, {alive} of {len(load.threads)} threads",
                flush=True,
            )
        load.stop()
    early, late = seen[LINES // 4 - 1], seen[-1]
    grown = {name: late[name] / early[name] for name in parts}
    print(json.dumps({name: round(each, 3) for name, each in grown.items()}), f"(<= {GROWTH})")
    sys.exit(alive < len(load.threads) or max(grown.values()) > GROWTH)


if __name__ == "__main__":
    main()
