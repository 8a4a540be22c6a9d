"""Prometheus itself reads our files: its own tool tests the alerts, and the server asks two processes of the API."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from platforms import start, stop, until
from servers import free_port, missing_server
from transfusion_core.db import tables

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CONFIGURATION = DEPLOY / "prometheus" / "prometheus.yml"
ALERTS = yaml.safe_load((CONFIGURATION.parent / "alerts.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "transfusion.json").read_text())
QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
FAILED, QUEUED = 3, 2
Ask = Callable[[str], dict[str, Any]]
"""What Prometheus answers to a request below `/api/v1/`."""


@pytest.fixture(autouse=True)
def _installed() -> None:
    if not shutil.which("prometheus") or not shutil.which("promtool"):
        missing_server("no prometheus and promtool are installed")


def _promtool(*arguments: object) -> None:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_and_its_rules_are_read() -> None:
    _promtool("check", "config", CONFIGURATION)


def test_alerts_are_given_where_they_should_be_and_nowhere_else() -> None:
    _promtool("test", "rules", Path(__file__).parent / "alerts.test.yml")


def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(QUERIES.values())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    _promtool("check", "rules", tmp_path / "rules.yml")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_real_prometheus_asks_two_processes_and_counts_what_both_tell_once(engine: Engine, tmp_path: Path) -> None:
    _some_jobs(engine)
    with _api(engine, tmp_path) as first, _api(engine, tmp_path) as second, _prometheus(tmp_path, first, second) as ask:
        until(lambda: _health(ask) == ["up", "up"], "both processes of the API to be found up")
        until(lambda: set(_rules(ask).values()) == {"ok"}, "every rule to be evaluated without a fault")
        assert set(_rules(ask)) == {rule["alert"] for rule in ALERTS["groups"][0]["rules"]}
        values = {name: _values(ask, expr) for name, expr in QUERIES.items()}
        assert (values["API A"], values["Failed A"], values["Queued A"]) == ([2], [FAILED], [QUEUED])
        assert (values["Running A"], values["Queues A"], values["Jobs by state A"]) == ([0], [QUEUED], [QUEUED])
        until(lambda: not ask("alerts")["alerts"], "what was thought before they answered to be taken back")

        second.process.kill()
        pending = until(lambda: ask("alerts")["alerts"], "an alert about the process that was killed")
        told = [(alert["labels"]["alertname"], alert["labels"]["instance"]) for alert in pending]
        assert told == [("TransfusionProcessAway", second.address)]


def _some_jobs(engine: Engine) -> None:
    row = {"key": "k", "kind": "train", "queue": "gpu", "spec": {}, "labels": {}, "shared": False}
    with Session(engine) as session, session.begin():
        for number in range(FAILED):
            session.add(tables.Job(id=f"failed{number}", state="failed", reason="nan", **row))
        for number in range(QUEUED):
            session.add(tables.Job(id=f"queued{number}", state="queued", **row))


@dataclass(frozen=True)
class Api:
    """One of its processes."""

    address: str
    process: subprocess.Popen[str]


@contextmanager
def _api(engine: Engine, folder: Path) -> Iterator[Api]:
    port = free_port()
    environment = {
        "TRANSFUSION_DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "TRANSFUSION_STORE_URL": f"file://{folder}/store",
        "TRANSFUSION_ADMIN_KEY_FILE": str(folder / "key"),
        "TRANSFUSION_LOG_LEVEL": "warning",
    }
    process = start(["api", "--port", str(port)], ready=None, environment=environment).process
    try:
        yield Api(f"127.0.0.1:{port}", process)
    finally:
        stop(process)


@contextmanager
def _prometheus(folder: Path, *apis: Api) -> Iterator[Ask]:
    """A server with our configuration, but for where the API is and how often it is asked."""
    read = yaml.safe_load(CONFIGURATION.read_text())
    (scraped,) = read["scrape_configs"]
    scraped["static_configs"] = [{"targets": [api.address for api in apis]}]
    read["global"] = dict.fromkeys(read["global"], "500ms")
    (folder / "prometheus.yml").write_text(yaml.safe_dump(read))
    shutil.copy(CONFIGURATION.parent / "alerts.yml", folder)
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stdout=log, stderr=log, text=True)
    try:
        until(lambda: process.poll() is not None or _answers(address), "Prometheus")
        assert process.poll() is None, (folder / "log").read_text()
        yield lambda what: _get(f"http://{address}/api/v1/{what}")["data"]
    finally:
        stop(process)


def _answers(address: str) -> bool:
    try:
        return bool(_get(f"http://{address}/api/v1/status/runtimeinfo"))
    except OSError:  # it is not there yet
        return False


def _get(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _health(ask: Ask) -> list[str]:
    return [target["health"] for target in ask("targets")["activeTargets"]]


def _rules(ask: Ask) -> dict[str, str]:
    """How the evaluation of each went."""
    return {rule["name"]: rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]}


def _values(ask: Ask, expr: str) -> list[float]:
    found = ask(f"query?query={urllib.parse.quote(expr)}")
    return [float(each["value"][1]) for each in found["result"]]
