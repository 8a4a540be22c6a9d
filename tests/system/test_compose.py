"""`docker-compose up` for real, on the stand-in images of `shared/tools/stand-in-images`.

Skipped, with the reason, where Docker does not answer or the images are not there, or are of other code. The long form
(`TRANSFUSION_SOAK=1`) kills every container in turn, takes all down and up, and restores a backup into empty volumes.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms import REPOSITORY, SOAK, TINY, until
from servers import free_port
from transfusion_client import Client
from transfusion_core.errors import NotAuthenticated, TransfusionError

pytestmark = [pytest.mark.system, pytest.mark.timeout(3600 if SOAK else 600)]
FILES = ["docker-compose.yml", "tests/system/compose.stand-in.yml"]
OURS = {"transfusion-api": ("core", "api", "clients"), "transfusion-worker": ("core", "worker", "clients")}
THEIRS = ("postgres:17", "valkey/valkey:8.1", "chrislusf/seaweedfs:4.07")
STAYING = ("api", "worker", "postgres", "valkey", "seaweedfs")
SMALL: dict[str, Any] = {**TINY, "seeds": 1, "inits": ["random"], "sources": {}, "sections": ["performance"]}
DIGEST = (
    "import hashlib, importlib.util as u, pathlib, sys\n"
    "for name in sys.argv[1:]:\n"
    "    root = pathlib.Path(u.find_spec(name).origin).parent\n"
    "    for path in sorted(root.rglob('*.py')):\n"
    "        print(path.relative_to(root), hashlib.sha256(path.read_bytes()).hexdigest())\n"
)
LONG_SECONDS = 1500


class Compose:
    """A project of its own."""

    def __init__(self, folder: Path) -> None:
        self.name, self.port = f"transfusion-test-{os.getpid()}", free_port()
        self._variables = folder / "variables"
        self._variables.write_text(f"TRANSFUSION_PORT={self.port}\n")
        self.key: str | None = None

    def __call__(self, *arguments: str, seconds: float = 300) -> str:
        files = [word for file in FILES for word in ("-f", file)]
        command = ["docker-compose", "-p", self.name, "--env-file", str(self._variables), *files, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def up(self) -> None:
        """Everything, until the API is ready."""
        self("up", "-d")
        with self.client() as client:
            until(lambda: _tried(client.readiness), "readiness", 180)

    def client(self) -> Client:
        return Client(f"http://127.0.0.1:{self.port}", self.key)

    def inspect(self, service: str) -> dict[str, Any]:
        """What Docker says of a service's container."""
        found = _docker("inspect", f"{self.name}_{service}_1")
        assert found is not None
        (container,) = json.loads(found)
        return dict(container)

    def kill(self, service: str) -> None:
        """As a crash: Docker itself would take its own `kill` for a wish that it stay away."""
        state = self.inspect(service)["State"]
        os.kill(state["Pid"], signal.SIGKILL)
        until(lambda: self._runs_again(service, state["Pid"]), f"{service} to run again", 120)

    def _runs_again(self, service: str, before: int) -> bool:
        state = self.inspect(service)["State"]
        return bool(state["Running"] and state["Pid"] not in (0, before))


def _tried(look: Any) -> Any:
    try:
        return look()
    except TransfusionError:
        return None


def _docker(*arguments: str) -> str | None:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    return done.stdout if done.returncode == 0 else None


def _missing() -> str | None:
    """Why Docker or images are not there, as a sentence."""
    if not shutil.which("docker-compose") or _docker("info") is None:
        return "docker-compose is not installed or dockerd does not answer: see shared/tools/stand-in-images"
    for image in (*THEIRS, *OURS):
        if _docker("image", "inspect", image) is None:
            return f"no image {image}: shared/tools/stand-in-images makes those of others, docker-compose build ours"
    for image, roots in OURS.items():
        names = [package.name for root in roots for package in (REPOSITORY / root).glob("transfusion_*")]
        told = _docker("run", "--rm", image, "python3", "-c", DIGEST, *names)
        if told != _digests(names):
            return f"the image {image} is of other code: docker-compose build"
    return None


def _digests(names: list[str]) -> str:
    lines = []
    for name in names:
        (root,) = REPOSITORY.glob(f"*/{name}")
        for path in sorted(root.rglob("*.py")):
            lines.append(f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
    return "".join(lines)


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The platform, as the first `up` in a fresh clone leaves it."""
    if reason := _missing():
        pytest.skip(reason)
    made = Compose(tmp_path_factory.mktemp("compose"))
    try:
        made.up()
        (made.key,) = re.findall(r"admin key: (\S+)", made("logs", "--no-color", "api"))
        yield made
    finally:
        made("down", "-v", "-t", "10")


def test_the_image_of_the_api_adds_little_to_pythons(compose: Compose) -> None:
    """Under 300 MB in all: the real python:3.11-slim, which the stand-in is not, has some 130."""
    sizes = [_docker("image", "inspect", "-f", "{{.Size}}", name) for name in ("transfusion-api", "python:3.11-slim")]
    ours, base = [int(size or 0) for size in sizes]
    assert base < ours < base + 160e6


def test_a_spec_becomes_a_report_and_nobody_else_gets_in(compose: Compose, tmp_path: Path) -> None:
    with Client(f"http://127.0.0.1:{compose.port}") as stranger, pytest.raises(NotAuthenticated):
        stranger.experiments.plan(SMALL)
    with compose.client() as client:
        experiment = client.experiments.create(TINY if SOAK else SMALL).wait(
            progress=False, timeout_seconds=LONG_SECONDS
        )
        assert experiment.state == "succeeded", experiment.counts
        report = experiment.report()
        assert all(section.complete for section in report.sections.values())
        report.save(tmp_path)  # in every form, and every chart in every form: each from a library in the image
        assert (tmp_path / "report.parquet").read_bytes().startswith(b"PAR1")
        run = next(iter(experiment.runs()))
        made = client.comparisons.create(f"{run.id}@init", f"{run.id}@final", measures=["cka"], images=50)
        assert client.comparisons.wait(made.id, timeout_seconds=LONG_SECONDS).state == "succeeded"


def test_containers_are_shut_in_bounded_and_not_to_be_reached(compose: Compose) -> None:
    for service in STAYING:
        container = compose.inspect(service)
        host, published = container["HostConfig"], container["NetworkSettings"]["Ports"]
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert host["SecurityOpt"] == ["no-new-privileges:true"], service
        assert host["Memory"] > 0, service
        assert host["PidsLimit"] > 0, service
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        open_to = {binding["HostIp"] for bindings in published.values() for binding in bindings or []}
        assert open_to == ({"127.0.0.1"} if service == "api" else set())
    for service in ("api", "worker"):
        assert "Uid:\t10001" in compose("exec", "-T", service, "cat", "/proc/1/status")
    # A password that nobody chose, and none for strangers.
    ours = compose("exec", "-T", "postgres", "sh", "-c", ". /passwords/postgres.env; echo $POSTGRES_PASSWORD").strip()
    assert re.fullmatch(r"[0-9a-f]{48}", ours)
    address = next(iter(compose.inspect("postgres")["NetworkSettings"]["Networks"].values()))["IPAddress"]
    query = ["psql", f"postgresql://transfusion:transfusion@{address}/transfusion", "-c", "SELECT 1"]
    refused = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    assert "password authentication failed" in refused.stderr


@pytest.mark.faults
@pytest.mark.skipif(not SOAK, reason="long: TRANSFUSION_SOAK=1")
def test_an_experiment_ends_though_every_container_is_killed_in_turn(compose: Compose) -> None:
    slow = {**SMALL, "name": "killed", "seeds": 3, "training": {"steps": 150, "eval_every": 50, "batch_size": 16}}
    with compose.client() as client:
        made = client.experiments.create(slow)
        for service in STAYING:
            until(lambda: _tried(lambda: client.experiments.get(made.id).state == "running"), "it to run", 300)
            compose.kill(service)
        state = until(lambda: _tried(lambda: _ended(client, made.id)), "its end", LONG_SECONDS)
        assert state == "succeeded"
        for run in client.experiments.runs(made.id):
            for series in client.runs.metrics(run.id):
                assert series.steps == sorted(set(series.steps))


@pytest.mark.skipif(not SOAK, reason="long: TRANSFUSION_SOAK=1")
def test_the_demo_prints_its_tables_and_where_the_report_is(compose: Compose) -> None:
    """What the first lines of docker-compose.yml promise."""
    printed = compose("run", "--rm", "-T", "demo", seconds=LONG_SECONDS)
    words = " ".join(printed.split())
    for title in (
        "Performance (Table 1)",
        "Similarity of trained networks (Figure 2)",
        "Verdict: does this dataset agree",
    ):
        assert title in words
    assert re.search(r"^succeeded in \d+ s: ", printed, re.MULTILINE)
    (experiment,) = re.findall(r"^report: /v1/experiments/(\S+)/report\.html$", printed, re.MULTILINE)
    with compose.client() as client:
        assert client.experiments.get(experiment).state == "succeeded"


def _ended(client: Client, experiment: str) -> str | None:
    state = client.experiments.get(experiment).state
    return state if state not in ("queued", "running") else None


@pytest.mark.skipif(not SOAK, reason="long: TRANSFUSION_SOAK=1")
def test_down_and_up_keep_everything_and_a_backup_fills_empty_volumes(compose: Compose, tmp_path: Path) -> None:
    os.chown(tmp_path, 10001, 10001)
    with compose.client() as client:
        before = {each.id: client.experiments.report(each.id).model_dump_json() for each in client.experiments.list()}
        assert before
        compose("down", "-t", "30")
        compose.up()
        assert {each: client.experiments.report(each).model_dump_json() for each in before} == before
        by_hand = ["run", "--rm", "-v", f"{tmp_path}:/backup", "migrate", "transfusion"]
        assert "backed up" in compose(*by_hand, "backup", "/backup/today")
        compose("down", "-v", "-t", "10")
        compose("up", "-d", "postgres", "seaweedfs")
        assert "restored" in compose(*by_hand, "restore", "/backup/today")
        compose.up()
        assert {each: client.experiments.report(each).model_dump_json() for each in before} == before
        again = client.experiments.create(SMALL).wait(progress=False, timeout_seconds=LONG_SECONDS)
        assert again.state == "succeeded"
