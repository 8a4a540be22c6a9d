"""Whole platforms in real processes, for the system and fault tests. Each ends what it started, by process id."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any, TypeVar

import pytest

from transfusion_client import Client
from transfusion_core.db.engine import connect, migrate

TRANSFUSION = Path(sys.executable).with_name("transfusion")
REPOSITORY = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("TRANSFUSION_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
"""Real images; tests that need them skip where they are missing."""

SOAK = bool(os.environ.get("TRANSFUSION_SOAK"))
"""The long form of the fault tests."""
LONG_FORM = pytest.mark.skipif(not SOAK, reason="a longer form of what other tests show: make soak")

Found = TypeVar("Found")

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 4, "eval_every": 4}}}},
    "inits": ["random", {"kind": "pretrained", "source": "natural"}],
    "seeds": 2,
    "train_sizes": [64],
    "image_size": 24,
    "training": {"steps": 4, "eval_every": 2, "batch_size": 16, "checkpoints": 1},
    "similarity": {"measures": ["svcca", "cka"], "images": 64},
}
"""An experiment of every kind of job that takes seconds."""
FEW_IMAGES = 400
"""What the demo datasets of a test's platform have instead of thousands, which each training is evaluated on."""


@dataclass(frozen=True)
class Platform:
    """A running `transfusion up`."""

    url: str
    process: subprocess.Popen[str]
    data: Path

    def kill(self) -> None:
        """kill -9 of the whole service: it gets no chance to say goodbye."""
        self.process.kill()
        stop(self.process)


@contextmanager
def embedded(data: Path, environment: dict[str, str] | None = None, *, few: bool = True) -> Iterator[Platform]:
    """`transfusion up` on a free port, with few demo images unless they are wanted as everybody has them."""
    process = start(["up", "--port", "0", "--data", str(data)], ready="ready: ", environment=environment)
    try:
        url = process.line.removeprefix("ready: ")
        if few:
            with Client(url) as client:
                add_few_demos(client)
        yield Platform(url, process.process, data)
    finally:
        stop(process.process)


class Lasting:
    """An embedded platform that the tests of a file share, since a start costs as much as ten jobs.

    A test that ends it starts it again on the same data; one that fails in between leaves that to the next.
    """

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        self.data, self._environment, self._running = data, environment, ExitStack()
        self.platform = self.again()

    def again(self) -> Platform:
        """Stop it softly if it runs, and start it."""
        self.close()
        self.platform = self._running.enter_context(embedded(self.data, self._environment))
        return self.platform

    def running(self) -> Platform:
        """As it is, or started again."""
        return self.platform if self.platform.process.poll() is None else self.again()

    def close(self) -> None:
        """Stop it softly."""
        self._running.close()


@contextmanager
def lasting(data: Path, environment: dict[str, str] | None = None) -> Iterator[Lasting]:
    """A platform that lasts until the end of the block, however often it is started again."""
    made = Lasting(data, environment)
    try:
        yield made
    finally:
        made.close()


def few_demos() -> Iterator[dict[str, Any]]:
    """The demo datasets, with few images: once registered under their names, these are meant by them."""
    for name in ("demo-retina", "demo-natural"):
        yield {"name": name, "kind": "recipe", "recipe": {"name": name, "images": FEW_IMAGES}}


def add_few_demos(client: Client) -> None:
    """Register them, where they are not yet."""
    for demo in few_demos():
        client.datasets.add(demo["name"], demo)


@dataclass(frozen=True)
class Started:
    """A process and the line that said it was ready."""

    process: subprocess.Popen[str]
    line: str


def start(arguments: list[str], *, ready: str | None, environment: dict[str, str] | None = None) -> Started:
    """Start `transfusion ARGUMENTS`; wait for the line that begins with `ready`."""
    output = subprocess.DEVNULL if ready is None else subprocess.PIPE
    process = subprocess.Popen(
        [str(TRANSFUSION), *arguments], stdout=output, text=True, env={**os.environ, **(environment or {})}
    )
    if ready is None:
        return Started(process, "")
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith(ready)), None)
    assert line is not None, f"transfusion {' '.join(arguments)} ended with {process.wait()} before it was ready"
    threading.Thread(target=_read_on, args=(process.stdout,), daemon=True).start()
    return Started(process, line.strip())


def api_alone(folder: Path, key: str) -> dict[str, str]:
    """The environment of an API without broker and workers, on a SQLite file that is made and a store in a folder."""
    url = f"sqlite:///{folder}/api.db"
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    return {
        "TRANSFUSION_DATABASE_URL": url,
        "TRANSFUSION_STORE_URL": f"file://{folder}/store",
        "TRANSFUSION_ADMIN_KEY": key,
    }


def _read_on(output: IO[str]) -> None:
    # A pipe that nobody reads fills up with the access log, and the service then waits for ever to write a line.
    with output:
        for _ in output:
            pass


def stop(process: subprocess.Popen[str], timeout_seconds: float = 30) -> int:
    """Stop softly, or hard after the timeout."""
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def until(look: Callable[[], Found | None], what: str, timeout_seconds: float = 60) -> Found:
    """Look until there is something; fail with `what` after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.1)  # mostly a request, which costs the service as much as a step of a small training
    raise AssertionError(f"waited {timeout_seconds} seconds in vain for {what}")


def training_child(client: Client, experiment: str, process: int) -> int | None:
    """Process id of a child that is in the middle of a training, under the worker with that process id."""
    for run in client.experiments.runs(experiment):
        if run.state == "running" and run.progress.get("step"):
            return next((pid for pid in job_children(process) if pid), None)
    return None


def job_children(worker: int) -> list[int]:
    """Process ids of the children that do jobs: what the worker's fork server has forked."""
    servers = [pid for pid in children(worker) if "forkserver" in command(pid)]
    return [child for server in servers for child in children(server)]


def children(process: int) -> list[int]:
    """Process ids of what this process has started."""
    return [pid for pid, parent in _parents().items() if parent == process]


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has ended meanwhile
                continue
    return found


def command(pid: int) -> str:
    """Its command line; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def report_by_curl(platform: Platform, spec: dict[str, Any]) -> dict[str, Any]:
    """The report of a spec by plain HTTP requests, as curl would make them: post, look until it is there, fetch."""
    made = _request(f"{platform.url}/v1/experiments", spec)
    address = f"{platform.url}/v1/experiments/{made['id']}"
    until(lambda: _request(address)["state"] == "succeeded", "the experiment", 240)
    return _request(f"{address}/report")


def _request(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def report_by_cli(platform: Platform, spec: dict[str, Any]) -> dict[str, Any]:
    """The report of a spec by the command line: submit and wait, then write the report into a folder."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "spec.json"
        file.write_text(json.dumps(spec))
        _cli(platform, "submit", str(file), "--wait")
        newest = json.loads(_cli(platform, "experiments", "-o", "json"))[0]
        _cli(platform, "report", newest["id"], "--to", folder)
        found: dict[str, Any] = json.loads((Path(folder) / "report.json").read_text())
        return found


def _cli(platform: Platform, *arguments: str) -> str:
    command = [str(TRANSFUSION), *arguments, "--url", platform.url]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
