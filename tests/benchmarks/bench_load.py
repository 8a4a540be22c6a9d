"""The API under load, on loopback: posts a second, claims among 10,000, 200 jobs that beat at once, and 50 clients that
post, list and stream.

The API runs without workers: what is measured is what it takes to accept work. It has one process on SQLite, as
`transfusion up`, and two on PostgreSQL; the clients run in this one, so all share the machine. Posts are told beside
those of a bare handler that keeps each body in one row of the same database, in the same run, by turns: machines
differ, and one by the minute. `TRANSFUSION_SOAK=1` lets the crowd stay for ten minutes, else for 30 s. Exits 1 where a
bar is missed.
"""

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from beats import beat_at_once
from platforms import children
from servers import free_port, postgres_url
from transfusion_core.db import jobs
from transfusion_core.db.engine import connect, migrate, unit_of_work
from transfusion_core.db.placing import place
from transfusion_core.db.scope import Scope
from transfusion_core.specs.job import JobDraft

SPEC: dict[str, Any] = {
    "name": "load",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 1,
    "image_size": 40,
    "training": {"steps": 4},
}
ADMIN = "tf_bench_" + "0" * 40
POST_SECONDS = 10.0
POSTING = 8
"""Connections that post: enough to keep the API busy, few enough that a request seldom waits for others."""
CROWD = 50
CROWD_SECONDS = 600.0 if os.environ.get("TRANSFUSION_SOAK") == "1" else 30.0
GROWN_UP_SECONDS, GROWTH = 600.0, 1.1
BEATING = {"embedded": 20, "service": 200}
"""Jobs at work: more than any embedded platform has slots, and those of a fleet."""
BEAT_ROUNDS = 60 if os.environ.get("TRANSFUSION_SOAK") == "1" else 10
PAUSE_SECONDS = 0.2
"""What a client of the crowd waits on average between requests, as scripts and people do."""
PROCESSES = {"embedded": 1, "service": 2}
TURNS = 5
BARE_HANDLER = {"embedded": 1323.0, "service": 1260.0}
"""Posts a second of a bare handler where the bars were set: trust.md, section 6, which does not say what it did."""
_HEAD = (
    b"%b %b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer " + ADMIN.encode() + b"\r\n"
    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
)
SERVER = "from transfusion_api.cli import api; api(host='127.0.0.1', port={port})"


@dataclass
class Seen:
    """What the clients were answered."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def with_more(self, other: "Seen") -> "Seen":
        """Both together."""
        return Seen(self.statuses + other.statuses, self.seconds + other.seconds, self.faults + other.faults)

    def percentile(self, share: float) -> float:
        """Milliseconds within which this share was answered."""
        return sorted(self.seconds)[int(share * (len(self.seconds) - 1))] * 1e3


def served(database_url: str, mode: str, folder: str) -> AbstractContextManager[tuple[int, int]]:
    """Port and process id of an API on this database."""
    engine = connect(database_url)
    migrate(engine)
    engine.dispose()
    words = {"MODE": mode, "DATABASE_URL": database_url, "STORE_URL": f"file://{folder}/store", "ADMIN_KEY": ADMIN}
    words |= {"BROKER_URL": "memory://", "LOG_LEVEL": "WARNING", "API_PROCESSES": str(PROCESSES[mode])}
    port = free_port()
    return _serving(["-c", SERVER.format(port=port)], port, words)


def _bare(database_url: str) -> AbstractContextManager[tuple[int, int]]:
    port = free_port()
    return _serving([str(Path(__file__).with_name("bare_handler.py")), str(port)], port, {"DATABASE_URL": database_url})


@contextmanager
def _serving(arguments: list[str], port: int, words: dict[str, str]) -> Iterator[tuple[int, int]]:
    environment = {**os.environ, **{f"TRANSFUSION_{name}": value for name, value in words.items()}}
    process = subprocess.Popen([sys.executable, *arguments], env=environment)
    try:
        _wait(port)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def _wait(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if Line(port).ask("GET", "/healthz")[0] == 200:
                return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the API did not start")


class Line:
    """A connection that is kept, and takes a third of what http.client takes of the machine that is measured:
    what it knows of HTTP is a status and a Content-Length.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket: socket.socket | None = None

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Status and body of the answer. Raises OSError where none comes."""
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        content = b"" if body is None else json.dumps(body).encode()
        self._socket.sendall(_HEAD % (method.encode(), path.encode(), self.port, len(content)) + content)
        read = b""
        while (end := read.find(b"\r\n\r\n")) < 0:
            read += self._more()
        head, read = read[:end].lower(), read[end + 4 :]
        length = int(head.partition(b"content-length:")[2].split(None, 1)[0])
        while len(read) < length:
            read += self._more()
        return int(head[9:12]), read

    def _more(self) -> bytes:
        assert self._socket is not None
        piece = self._socket.recv(1 << 16)
        if not piece:
            raise ConnectionError("the connection was closed")
        return piece

    def close(self) -> None:
        """The next request opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def at_once(count: int, seconds: float, act: Callable[[Line, Seen, int], None], port: int) -> Seen:
    """`count` clients that act again and again for so long."""
    seen, end = Seen(), time.monotonic() + seconds

    def client(number: int) -> None:
        line = Line(port)
        while time.monotonic() < end:
            try:
                act(line, seen, number)
            except (OSError, http.client.HTTPException) as error:
                seen.faults.append(repr(error))
                line.close()
        line.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return seen


def _timed(line: Line, seen: Seen, method: str, path: str, body: Any = None) -> bytes:
    began = time.perf_counter()
    status, answer = line.ask(method, path, body)
    seen.seconds.append(time.perf_counter() - began)
    seen.statuses[status] += 1
    return answer


def post(line: Line, seen: Seen, number: int) -> None:
    """One new experiment; its runs are those of the others."""
    _timed(line, seen, "POST", "/v1/experiments", {**SPEC, "name": f"load {number} {time.monotonic_ns()}"})


def mingle(line: Line, seen: Seen, number: int) -> None:
    """What a client of the crowd does: post, list, or follow a stream for a moment and vanish."""
    time.sleep(random.uniform(0, 2 * PAUSE_SECONDS))
    deed = random.choice(("post", "list", "list", "one", "stream"))
    if deed == "post":
        post(line, seen, number)
        return
    items = json.loads(_timed(line, seen, "GET", "/v1/experiments?limit=20")).get("items", [])
    if not items or deed == "list":
        return
    path = f"/v1/experiments/{random.choice(items)['id']}"
    if deed == "one":
        _timed(line, seen, "GET", path)
        return
    stream = http.client.HTTPConnection("127.0.0.1", line.port, timeout=30)
    stream.request("GET", f"{path}/events", headers={"Authorization": f"Bearer {ADMIN}"})
    answer = stream.getresponse()
    seen.statuses[answer.status] += 1
    answer.read(64)
    time.sleep(random.uniform(0, 3))
    stream.close()


def claims(database_url: str, queued: int = 10_000, claimed: int = 500) -> list[float]:
    """Seconds of each of the first claims among so many queued jobs."""
    engine = connect(database_url)
    migrate(engine)
    drafts = [JobDraft.make("train", {"name": str(number)}) for number in range(queued)]
    with unit_of_work(engine) as session:
        place(session, Scope(engine), drafts)
    seconds = []
    for _ in range(claimed):
        began = time.perf_counter()
        job = jobs.claim(engine, worker="bench", queues=["gpu", "cpu"], lease_seconds=60)
        seconds.append(time.perf_counter() - began)
        assert job is not None
    engine.dispose()
    return seconds


def _memory_mb(pid: int) -> float:
    """Of an API with all its processes."""
    pages = sum(int(Path(f"/proc/{one}/statm").read_text().split()[1]) for one in (pid, *children(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _processor_seconds(pid: int) -> float:
    """Of an API with all its processes."""
    stats = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in (pid, *children(pid))]
    return sum(int(user) + int(system) for user, system in (stat[11:13] for stat in stats)) / os.sysconf("SC_CLK_TCK")


def report_posts(name: str, database_url: str, mode: str, gates: tuple[float, float]) -> bool:
    """Posts a second and their p99, beside what is asked for and what a bare handler does; whether it is met."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        port, pid = stack.enter_context(served(database_url, mode, folder))
        bare_port, _ = stack.enter_context(_bare(database_url))
        at_once(POSTING, 1.0, post, port)
        at_once(POSTING, 1.0, post, bare_port)
        seen, bare, used = Seen(), Seen(), 0.0
        for _ in range(TURNS):
            before = _processor_seconds(pid)
            seen = seen.with_more(at_once(POSTING, POST_SECONDS / TURNS, post, port))
            used += _processor_seconds(pid) - before
            bare = bare.with_more(at_once(POSTING, POST_SECONDS / TURNS, post, bare_port))
    rate, bare_rate, p99 = seen.statuses[201] / POST_SECONDS, bare.statuses[201] / POST_SECONDS, seen.percentile(0.99)
    asked = gates[0] / BARE_HANDLER[mode]
    print(f"{name}: {rate:.0f} posts/s (>= {gates[0]:.0f}), p50 {seen.percentile(0.5):.0f} ms, ", end="")
    print(f"p99 {p99:.0f} ms (<= {gates[1]:.0f}), {used / len(seen.seconds) * 1e3:.1f} ms of processor each, ", end="")
    print(f"{dict(seen.statuses)}, {len(seen.faults)} faults; a bare handler {bare_rate:.0f} ", end="")
    print(f"({BARE_HANDLER[mode]:.0f}): {rate / bare_rate:.2f} of it ({asked:.2f})", flush=True)
    return rate >= gates[0] and p99 <= gates[1] and set(seen.statuses) == {201} and not seen.faults


def report_crowd(name: str, database_url: str, mode: str) -> bool:
    """A crowd: statuses, latency, and the API's memory after a quarter and at the end; whether all were served.

    In the long form memory has to be flat as well: half a minute is too short for a process to have grown up.
    """
    with tempfile.TemporaryDirectory() as folder, served(database_url, mode, folder) as (port, pid):
        first = at_once(CROWD, CROWD_SECONDS / 4, mingle, port)
        early = _memory_mb(pid)
        seen = at_once(CROWD, CROWD_SECONDS * 3 / 4, mingle, port)
        statuses = dict(first.statuses + seen.statuses)
        print(f"{name}, {CROWD} clients for {CROWD_SECONDS:.0f} s: {statuses}, ", end="")
        print(
            f"{len(first.faults + seen.faults)} faults {seen.faults[:1]}, p50 {seen.percentile(0.5):.0f} ms, ", end=""
        )
        late = _memory_mb(pid)
        print(f"p99 {seen.percentile(0.99):.0f} ms, memory {early:.0f} -> {late:.0f} MB (x {GROWTH})", flush=True)
    is_flat = late <= GROWTH * early or CROWD_SECONDS < GROWN_UP_SECONDS
    return set(statuses) <= {200, 201} and not first.faults + seen.faults and is_flat


def report_claims(name: str, database_url: str) -> bool:
    """p99 of claims among 10,000 queued jobs; whether it is what is asked for."""
    seen = Seen(seconds=claims(database_url))
    p99 = seen.percentile(0.99)
    print(f"{name}: claim among 10,000, p50 {seen.percentile(0.5):.1f} ms, p99 {p99:.1f} ms (<= 20)", flush=True)
    return p99 <= 20


def report_beats(name: str, database_url: str, beating: int) -> bool:
    """Jobs that all beat at once, ten times as often as workers' do; whether each keeps its lease."""
    engine = connect(database_url)
    migrate(engine)
    engine.dispose()
    beaten = beat_at_once(database_url, beating, rounds=BEAT_ROUNDS, lease_seconds=6, every_seconds=1)
    seen = Seen(seconds=beaten.seconds)
    print(f"{name}: {beating} jobs beat at once, {BEAT_ROUNDS} times a second apart: p50 ", end="")
    print(f"{seen.percentile(0.5):.0f} ms, p99 {seen.percentile(0.99):.0f} ms, {beaten.lost} leases lost (0), ", end="")
    print(f"the first would have ended in {beaten.least_left_seconds:.1f} s of 6", flush=True)
    return beaten.lost == 0 and beaten.least_left_seconds > 0


def main() -> None:
    """All figures, on both databases; with `posts`, `claims`, `beats` or `crowd`, those alone."""
    wanted = sys.argv[1:] or ["posts", "claims", "beats", "crowd"]
    met = []
    with tempfile.TemporaryDirectory() as folder, postgres_url() as postgres, postgres_url() as other:
        for name, mode, url, fresh, gates in (
            ("embedded, SQLite", "embedded", f"sqlite:///{folder}/a.db", f"sqlite:///{folder}/b.db", (200.0, 500.0)),
            ("service, PostgreSQL", "service", postgres, other, (300.0, 250.0)),
        ):
            if "posts" in wanted:
                met.append(report_posts(name, url, mode, gates))
            if "beats" in wanted:
                met.append(report_beats(name, fresh, BEATING[mode]))
            if "claims" in wanted:
                met.append(report_claims(name, fresh))
            if "crowd" in wanted:
                met.append(report_crowd(name, url, mode))
    sys.exit(not all(met))


if __name__ == "__main__":
    main()
