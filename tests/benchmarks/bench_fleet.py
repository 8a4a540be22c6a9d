"""A fleet in small: the real API, real workers, PostgreSQL and Redis, and trainings that do nothing.

`python bench_fleet.py [posts] [drain] [cost] [growth] [rows] [streams]`, all unless named. `FLEET_JOBS` (10,000) are
drained, `FLEET_ROWS` (100,000) stand in the database at the end of `growth`. The machine is shared by all of them.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from celery import Celery
from sqlalchemy import Engine, func, select, text

from redis_server import redis_server
from servers import free_port, postgres_url
from transfusion_core.db import jobs
from transfusion_core.db.engine import connect, migrate, unit_of_work
from transfusion_core.db.tables import Event, Job

JOBS = int(os.environ.get("FLEET_JOBS", "10000"))
ROWS = int(os.environ.get("FLEET_ROWS", "100000"))
SLOTS, STREAMS, ALONE = 4, 200, 200
QUIET_SECONDS = 3.0
ADMIN = "tf_bench_" + "0" * 40
TESTS = Path(__file__).parents[1]
SERVER = "from transfusion_api.cli import api; api(host='127.0.0.1', port={port})"
WORKER = (
    "import logging; logging.basicConfig(level='WARNING');"
    "from transfusion_core.settings import Settings; from transfusion_worker.worker import Worker;"
    "Worker(Settings(), ['cpu', 'gpu'], kinds_module='fleet_kinds').run_forever()"
)
CELERY = (
    "from celery import Celery; app = Celery('alone', broker={url!r}, backend={url!r})\n"
    "def nothing(): pass\n"
    "app.task(name='nothing')(nothing); app.worker_main(['worker', '-c', '{slots}', '-l', 'ERROR', *{more!r}])"
)


@dataclass(frozen=True)
class Fleet:
    """Where the parts are."""

    engine: Engine
    port: int
    api: int
    """The API's process."""
    broker: str
    environment: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, None if body is None else json.dumps(body), _HEADERS)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status < 300, text
        connection.close()
        return json.loads(text)

    def count(self, state: str) -> int:
        with unit_of_work(self.engine, write=False) as session:
            return session.scalar(select(func.count()).where(Job.state == state)) or 0


_HEADERS = {"Authorization": f"Bearer {ADMIN}", "Content-Type": "application/json"}


@contextmanager
def fleet() -> Iterator[Fleet]:
    """PostgreSQL, Redis and an API; workers are started by those who need them."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url, broker = stack.enter_context(postgres_url()), stack.enter_context(redis_server())
        engine = connect(url)
        migrate(engine)
        port = free_port()
        words = {
            "DATABASE_URL": url,
            "STORE_URL": f"file://{folder}/store",
            "BROKER_URL": broker,
            "CACHE_DIR": f"{folder}/cache",
            "ADMIN_KEY": ADMIN,
            "LOG_LEVEL": "WARNING",
            "DEVICE": "cpu",
        }
        roots = os.pathsep.join(str(path) for path in (TESTS, *(TESTS.parent / each for each in ("core", "worker"))))
        environment = {**os.environ, **{f"TRANSFUSION_{name}": value for name, value in words.items()}}
        environment["PYTHONPATH"] = roots
        api = stack.enter_context(_process([sys.executable, "-c", SERVER.format(port=port)], environment))
        found = Fleet(engine, port, api.pid, broker, environment)
        _until(lambda: _answers(found))
        (store := Path(folder, "store")).mkdir(exist_ok=True)
        (store / "nothing").touch()  # what its jobs say they made: else the dataset is lost, and made again each time
        yield found
        engine.dispose()


def _answers(found: Fleet) -> bool:
    try:
        return bool(found.ask("GET", "/healthz"))
    except OSError:
        return False


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def _worker(found: Fleet, slots: int) -> Any:
    more = {"TRANSFUSION_SLOTS": str(slots), "TRANSFUSION_THREADS_PER_JOB": "1"}
    return _process([sys.executable, "-c", WORKER], {**found.environment, **more})


def _until(true: Any, seconds: float = 1800.0, *, pause_seconds: float = 0.1) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:.0f} s")
        time.sleep(pause_seconds)


def _spec(number: int, cells: int) -> dict[str, Any]:
    return {
        "name": f"fleet {number}",
        "dataset": "demo-retina",
        "models": ["cbr-tiny"],
        "inits": ["random"],
        "seeds": cells // 10,
        "train_sizes": [100 + 10 * size for size in range(10)],
        "image_size": 40,
        "training": {"steps": 4, "lr": 1e-3 * (1 + number)},
        "sections": ["performance"],
    }


def posts(found: Fleet, cells: int, number: int) -> list[float]:
    """Seconds of each post of so many cells."""
    seconds = []
    for each in range(cells // 1000):
        began = time.perf_counter()
        found.ask("POST", "/v1/experiments", _spec(number + each, 1000))
        seconds.append(time.perf_counter() - began)
    return seconds


def report_posts(found: Fleet) -> None:
    """A post of 1,000 cells."""
    seconds = posts(found, JOBS, 0)
    told = ", ".join(f"{each:.2f}" for each in seconds)
    print(f"post of 1,000 cells: median {statistics.median(seconds):.2f} s (< 2): {told}", flush=True)


def report_drain(found: Fleet) -> None:
    """Jobs a second by four slots, and that each was done once."""
    if not found.count("queued") + found.count("waiting"):
        posts(found, JOBS, 0)
    waiting = found.count("queued") + found.count("waiting")
    with _worker(found, SLOTS):
        _until(lambda: found.count("succeeded") > 20)
        before, began = found.count("succeeded"), time.perf_counter()
        _until(lambda: found.count("queued") + found.count("waiting") + found.count("running") == 0, pause_seconds=0.5)
        seconds = time.perf_counter() - began
    done = found.count("succeeded")
    with unit_of_work(found.engine, write=False) as session:
        attempts = session.scalar(select(func.max(Job.attempt)))
        told = select(func.count()).where(Event.kind == "state", Event.data["to"].as_string() == "succeeded")
        results = session.scalar(told)
    print(f"{waiting} jobs drained by {SLOTS} slots: {(done - before) / seconds:.1f} a second (>= 50), ", end="")
    print(f"{done} succeeded, {results} results, {attempts} attempts at most", flush=True)


def report_cost(found: Fleet) -> None:
    """From claim to result of one job after another, and what Celery alone takes for the same nothing."""
    for slots in (1, SLOTS):
        posts(found, 1000, 500 + slots)  # one number, one learning rate: other runs than those before
        with _worker(found, slots):
            _until(lambda: found.count("queued") + found.count("waiting") + found.count("running") == 0)
        with unit_of_work(found.engine, write=False) as session:
            last = select(Job.started_at, Job.finished_at).where(Job.kind == "train").order_by(Job.finished_at.desc())
            rows = session.execute(last.limit(900)).all()
        costs = sorted((finished - started).total_seconds() * 1e3 for started, finished in rows)
        print(f"claim to result, {slots} slots: p50 {costs[len(costs) // 2]:.0f} ms (< 150), ", end="")
        print(f"p95 {costs[int(len(costs) * 0.95)]:.0f} ms", flush=True)
    for words, more in (("its pool", []), ("a process for each task", ["--max-tasks-per-child", "1"])):
        _report_celery(found, words, more)


def _report_celery(found: Fleet, words: str, more: list[str]) -> None:
    app = Celery("alone", broker=found.broker, backend=found.broker)
    script = CELERY.format(url=found.broker, slots=SLOTS, more=more)
    with _process([sys.executable, "-c", script], found.environment):
        app.send_task("nothing").get(timeout=120)
        seconds = []
        for _ in range(ALONE):
            began = time.perf_counter()
            app.send_task("nothing").get(timeout=60, interval=0.001)
            seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
        for result in [app.send_task("nothing") for _ in range(5 * ALONE)]:
            result.get(timeout=300)
        rate = 5 * ALONE / (time.perf_counter() - began)
    print(f"Celery alone, {words}: p50 {statistics.median(seconds) * 1e3:.1f} ms from send to result, ", end="")
    print(f"{rate:.0f} a second", flush=True)


def report_growth(found: Fleet) -> None:
    """Posts, claims and pages as the database grows, and what is drained in a minute when it is large."""
    number = 1000
    found.ask(
        "POST", "/v1/experiments", _spec(number - 1, 10)
    )  # its dataset is there afterwards: what is posted later is queued, and does not wait
    with _worker(found, 1):
        _until(lambda: found.count("queued") + found.count("waiting") + found.count("running") == 0)
    for size in (ROWS // 10, ROWS * 3 // 10, ROWS):
        while (rows := _rows(found)) < size:
            posts(found, 1000, number)
            number += 1
        post = statistics.median(posts(found, 5000, number))
        number += 5
        claimed = sorted(_claimed(found) for _ in range(200))
        first, last = _pages(found)
        print(f"among {rows} jobs: post of 1,000 cells {post:.2f} s, claim p50 {claimed[100] * 1e3:.1f} ms, ", end="")
        print(f"p99 {claimed[198] * 1e3:.1f} ms, page of runs p95 {first:.0f} ms, the last {last:.0f} ms", flush=True)
    with _worker(found, SLOTS):
        _until(lambda: found.count("succeeded") > 20)
        before, began = found.count("succeeded"), time.perf_counter()
        time.sleep(60)
        rate = (found.count("succeeded") - before) / (time.perf_counter() - began)
    print(f"among {_rows(found)} jobs: {rate:.1f} a second drained by {SLOTS} slots (>= 50)", flush=True)


def _rows(found: Fleet) -> int:
    with unit_of_work(found.engine, write=False) as session:
        return session.scalar(select(func.count()).select_from(Job)) or 0


def _claimed(found: Fleet) -> float:
    """Seconds of a claim; the job is given back when its lease has run out."""
    began = time.perf_counter()
    assert jobs.claim(found.engine, worker="bench", queues=["cpu", "gpu"], lease_seconds=1)
    return time.perf_counter() - began


def _pages(found: Fleet) -> tuple[float, float]:
    """p95 in milliseconds of the first page of 50 runs and of the last."""
    cursor, path = "", "/v1/runs?limit=200"
    while following := found.ask("GET", f"{path}&cursor={cursor}" if cursor else path)["next"]:
        cursor = following
    pages = ("/v1/runs?limit=50", f"/v1/runs?limit=50&cursor={cursor}")
    first, last = (sorted(_timed(found, page) for _ in range(100))[95] * 1e3 for page in pages)
    return first, last


def _timed(found: Fleet, path: str) -> float:
    began = time.perf_counter()
    found.ask("GET", path)
    return time.perf_counter() - began


def report_rows(found: Fleet) -> None:
    """Bytes and rows of each table for each job."""
    tables = ("jobs", "needs", "experiment_jobs", "events", "points", "log_lines")
    with unit_of_work(found.engine, write=False) as session:
        rows = session.scalar(select(func.count()).select_from(Job)) or 1
        for name in tables:
            count = session.scalar(text(f"SELECT count(*) FROM {name}")) or 0
            size = session.scalar(text(f"SELECT pg_total_relation_size('{name}')")) or 0
            print(f"{name}: {count / rows:.2f} rows and {size / rows:.0f} bytes for each of {rows} jobs", flush=True)


def report_streams(found: Fleet) -> None:
    """The API's latency with so many event streams: as each is told what was before, and as a worker works."""
    made = found.ask("POST", "/v1/experiments", _spec(9000, 1000))["id"]
    stop, heard = threading.Event(), [0] * STREAMS
    streams = [_stream(found, made) for _ in range(STREAMS)]
    threads = [threading.Thread(target=_hear, args=(streams[n], heard, n, stop)) for n in range(STREAMS)]
    for thread in threads:
        thread.start()
    began = time.perf_counter()
    _report_latency(found, made, 20, f"with {STREAMS} streams just opened")
    _until(lambda: _is_quiet(heard))
    seconds = time.perf_counter() - began - QUIET_SECONDS
    print(f"{min(heard)} bytes were told on each within {seconds:.1f} s", flush=True)
    _report_latency(found, made, 100, f"with {STREAMS} streams open")
    with _worker(found, 2):
        _until(lambda: found.count("running") > 0)
        _report_latency(found, made, 200, f"with {STREAMS} streams open, and jobs done all the time")
    stop.set()
    for thread in threads:
        thread.join()
    print(f"{min(heard)} to {max(heard)} bytes heard on each", flush=True)


def _is_quiet(heard: list[int]) -> bool:
    before = list(heard)
    time.sleep(QUIET_SECONDS)
    return before == heard and min(heard) > 0


def _report_latency(found: Fleet, experiment: str, requests: int, words: str) -> None:
    seconds = []
    for _ in range(requests):
        seconds.append(_timed(found, f"/v1/experiments/{experiment}"))
        time.sleep(0.05)
    p95 = sorted(seconds)[int(len(seconds) * 0.95)] * 1e3
    print(f"{words}: p50 {statistics.median(seconds) * 1e3:.1f} ms, p95 {p95:.1f} ms (< 100)", flush=True)


def _stream(found: Fleet, experiment: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=60)  # pings come more often
    connection.request("GET", f"/v1/experiments/{experiment}/events", headers=_HEADERS)
    return connection


def _hear(connection: http.client.HTTPConnection, heard: list[int], number: int, stop: threading.Event) -> None:
    answer = connection.getresponse()
    while not stop.is_set() and (piece := answer.read1(65536)):
        heard[number] += len(piece)
    connection.close()


def main() -> None:
    """The parts that are named, or all."""
    parts = {
        "posts": report_posts,
        "drain": report_drain,
        "cost": report_cost,
        "growth": report_growth,
        "rows": report_rows,
        "streams": report_streams,
    }
    wanted = sys.argv[1:] or list(parts)
    with fleet() as found:
        for name in wanted:
            parts[name](found)


if __name__ == "__main__":
    main()
