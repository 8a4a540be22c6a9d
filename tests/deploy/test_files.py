"""The files around the containers: compose, Dockerfiles, Prometheus and Grafana, held against what they speak of."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from transfusion_api import passwords
from transfusion_api.app import create_app
from transfusion_core.db import tables, workers
from transfusion_core.db.clock import clock
from transfusion_core.settings import Settings
from transfusion_core.specs.worker import Equipment, Gpu

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = (ROOT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "transfusion.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())


def test_only_the_api_is_published_and_grafana_where_it_was_asked_for():
    published = {name: of["ports"] for name, of in SERVICES.items() if "ports" in of}
    assert published == {
        "api": ["127.0.0.1:${TRANSFUSION_PORT:-8000}:8000"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }
    assert SERVICES["grafana"]["profiles"] == ["observe"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_shut_in(name: str):
    of = SERVICES[name]
    assert (of["read_only"], of["cap_drop"], of["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert "privileged" not in of
    assert not {"/", "/var/run/docker.sock"} & {volume.partition(":")[0] for volume in of.get("volumes", [])}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_bounded_and_what_stays_up_is_looked_after(name: str):
    of = SERVICES[name]
    assert {"mem_limit", "pids_limit", "logging"} <= set(of)
    assert "healthcheck" in of or of["restart"] != "unless-stopped"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("postgres", {"POSTGRES_PASSWORD"}), ("seaweedfs", {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"})],
)
def test_a_server_is_told_its_own_password_and_no_other(name: str, expected: set[str], tmp_path: Path):
    passwords.write(tmp_path, {})
    script = SERVICES[name]["entrypoint"][2].replace("/passwords", str(tmp_path))
    reading = re.search(r"set -a; .*?(?=exec )", script)
    assert reading is not None
    done = subprocess.run(["sh", "-c", f"{reading[0]} env"], env={}, capture_output=True, text=True, check=True)
    told = {line.partition("=")[0] for line in done.stdout.splitlines()}
    assert {name for name in told if name.startswith(("POSTGRES", "AWS"))} == expected


def test_the_admin_key_is_for_the_api_alone():
    assert {name for name, of in SERVICES.items() if any(v.startswith("keys:") for v in of.get("volumes", []))} == {
        "api",
        "demo",
    }


def test_every_image_of_others_is_pinned_by_a_tag():
    theirs = [of["image"] for of in SERVICES.values() if "build" not in of]
    assert len(theirs) == 5
    assert all(re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)*", image) for image in theirs)
    for part in ("api", "worker"):
        file = (DEPLOY / f"{part}.Dockerfile").read_text()
        assert set(re.findall(r"^FROM (\S+)", file, re.MULTILINE)) == {"python:3.11-slim"}
        assert "ca-certificates" in file
        assert "# syntax" not in file
        assert file.count("--require-hashes") >= 2


def test_the_variables_of_compose_are_those_of_the_example():
    told = set(re.findall(r"^# ([A-Z0-9_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert set(re.findall(r"\$\{([A-Z0-9_]+):-", COMPOSE)) == told - {"COMPOSE_PROFILES"}


def test_settings_in_compose_exist():
    known = {f"TRANSFUSION_{name.upper()}" for name in Settings.model_fields}
    given = {name for of in SERVICES.values() for name in of.get("environment", {}) if name.startswith("TRANSFUSION_")}
    assert given <= known


def test_a_worker_without_gpus_needs_what_the_other_needs_but_torch():
    """What `make lock` writes of worker.txt; torch itself comes from an index of its own."""
    worker = (DEPLOY / "requirements" / "worker.txt").read_text()
    script = DEPLOY / "requirements" / "without_gpu.awk"
    made = subprocess.run(["awk", "-f", script], input=worker, capture_output=True, text=True, check=True).stdout
    assert made == (DEPLOY / "requirements" / "worker-cpu.txt").read_text()
    gone = set(_names(worker)) - set(_names(made))
    assert {"torch", "torchvision", "triton"} <= gone
    assert all(name.startswith(("torch", "triton", "nvidia-", "cuda-")) for name in gone)
    assert all("--hash=sha256:" in part for part in made.split("\n\n")[0].split("\\\n    ")[1:2])


def _names(requirements: str) -> list[str]:
    return re.findall(r"^([a-z0-9.-]+)==", requirements, re.MULTILINE)


def test_every_number_on_the_dashboard_and_in_the_alerts_is_one_that_the_api_tells(engine: Engine):
    with Session(engine) as session, session.begin():
        row = {"key": "k", "kind": "train", "queue": "gpu", "spec": {}, "labels": {}, "shared": False}
        began = {"started_at": clock(), "not_before": clock(-5), "lease_until": clock(60)}
        session.add_all(tables.Job(id=state, state=state, **began, **row) for state in ("queued", "running"))
    gpu = Gpu(name="card", memory_bytes=1, used_bytes=0, busy=0)
    has = {"version": "1", "slots": 1, "running": 0, "cores": 1, "memory_bytes": 1, "free_bytes": 1, "gpus": [gpu]}
    workers.seen(engine, "w", Equipment(queues=["gpu"], **has))
    told = _metrics(engine)
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    asked += [rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]]
    named = {name for expr in asked for name in re.findall(r"\btransfusion_[a-z_]+\b", expr)}
    assert named
    assert named <= set(told)
    for expr in asked:
        for name, matchers in re.findall(r"\b(transfusion_[a-z_]+)\{([^}]*)\}", expr):
            assert set(re.findall(r"(\w+)=", matchers)) <= told[name]


def _metrics(engine: Engine) -> dict[str, set[str]]:
    """Names of metrics, and of their labels."""
    from fastapi.testclient import TestClient

    url = engine.url.render_as_string(hide_password=False)
    settings = Settings(mode="embedded", database_url=url, store_url="file:///tmp/transfusion-store")
    with TestClient(create_app(settings), client=("127.0.0.1", 1), headers={"host": "127.0.0.1"}) as client:
        client.get("/readyz")
        lines = client.get("/metrics").text.splitlines()
    found: dict[str, set[str]] = {}
    for line in lines:
        if not line.startswith("#"):
            name, _, labels = line.partition(" ")[0].partition("{")
            found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def test_panels_have_places_of_their_own_and_ask_the_source_that_is_there():
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    (known,) = source["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {known["uid"]}
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_digests_are_asked_of_docker_and_never_made_up(tmp_path: Path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n" + 'echo "[\\"$5@sha256:$(printf %s "$5" | sha256sum | cut -c1-64)\\"]"\n')
    docker.chmod(0o755)
    command = [sys.executable, DEPLOY / "digests.py"]
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    pinned = yaml.safe_load(done.stdout)["services"]
    assert set(pinned) == {"postgres", "valkey", "seaweedfs", "prometheus", "grafana"}
    assert re.fullmatch(r"postgres:17@sha256:[0-9a-f]{64}", pinned["postgres"]["image"])
    for answer, said in (("echo '[]'", "it came from no registry"), ("exit 1", "docker pull postgres:17")):
        docker.write_text(f"#!/bin/sh\n{answer}\n")
        failed = subprocess.run(
            command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
        )
        assert failed.returncode == 1
        assert said in failed.stderr
