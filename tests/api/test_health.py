"""Liveness, readiness, numbers and pages."""

from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.orm import Session

from transfusion_core import __version__
from transfusion_core.db import jobs, workers
from transfusion_core.db.tables import Job
from transfusion_core.settings import Settings
from transfusion_core.specs.worker import Equipment, Gpu


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sorted(filter(None, sample.labels.values()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_a_fresh_service_lives_and_is_ready(client: TestClient) -> None:
    alive = {"status": "ok", "mode": "embedded", "version": __version__}
    assert client.get("/healthz").json() == alive
    ready = client.get("/readyz").json()
    parts = {part["name"]: part for part in ready.pop("parts")}
    assert ready == alive
    assert {name: parts[name]["found"] for name in ("database", "store", "broker", "queue")} == {
        "database": client.app.state.service.engine.dialect.name,
        "store": "file",
        "broker": "memory",
        "queue": "0 jobs queued, the oldest for 0 s",
    }
    assert parts["disk"]["found"].endswith(" GB free in the store")
    assert all(part["well"] for part in parts.values())


def test_a_broker_that_is_away_is_told_and_is_no_reason_not_to_be_ready(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings(broker_url="redis://127.0.0.1:9/0", min_free_bytes=10**18)) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 200
    parts = {part["name"]: part for part in answer.json()["parts"]}
    assert parts["broker"]["found"].startswith("does not answer: ")
    assert not parts["broker"]["well"]
    assert not parts["disk"]["well"]


def test_numbers_are_those_of_the_database(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    before = samples(client)
    assert before["transfusion_jobs", "ingest", "queued"] == 1
    assert before["transfusion_jobs", "train", "waiting"] == 2
    assert before["transfusion_queue_jobs", "cpu"] == 1
    work()
    after = samples(client)
    assert after["transfusion_jobs", "succeeded", "train"] == 2
    assert ("transfusion_jobs", "ingest", "queued") not in after


def test_a_queue_that_nobody_works_on_is_not_ready(client: TestClient, experiment: dict[str, Any]) -> None:
    assert client.get("/readyz").status_code == 200
    make_old(client)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "worker" in answer.json()["detail"]


def test_jobs_that_are_too_large_for_every_worker_do_not_make_a_service_unready(
    client: TestClient, experiment: dict[str, Any]
) -> None:
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET gpus = 4"))
    make_old(client)
    assert client.get("/readyz").status_code == 503, "nobody is there"
    words = {"version": "1", "queues": ["gpu", "cpu"], "slots": 1, "running": 0, "cores": 1, "memory_bytes": 1}
    there = Equipment(**words, free_bytes=1, gpus=[Gpu(name="card", memory_bytes=1, used_bytes=0, busy=0)])
    workers.seen(engine, "small", there)
    assert client.get("/readyz").status_code == 200
    workers.seen(engine, "large", there.model_copy(update={"gpus_per_job": 4}))
    assert client.get("/readyz").status_code == 503
    workers.gone(engine, "large")
    workers.seen(engine, "processor", there.model_copy(update={"gpus": []}))
    assert client.get("/readyz").status_code == 503


def test_a_queue_that_nobody_works_on_is_not_ready_though_another_moves(
    client: TestClient, experiment: dict[str, Any]
) -> None:
    engine = client.app.state.service.engine
    with Session(engine) as session, session.begin():
        row = {"key": "k", "kind": "train", "spec": {}, "labels": {}, "shared": False}
        session.add(Job(id="waits", state="queued", queue="gpu", **row))
    make_old(client)
    assert jobs.claim(engine, worker="w", queues=["cpu"], lease_seconds=60) is not None
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "a job of queue gpu has waited" in answer.json()["detail"]
    assert samples(client)["transfusion_queue_moves", "cpu"] == 1
    assert samples(client)["transfusion_queue_moves", "gpu"] == 0
    assert jobs.claim(engine, worker="v", queues=["gpu"], lease_seconds=60) is not None
    assert client.get("/readyz").status_code == 200


def make_old(client: TestClient) -> None:
    with client.app.state.service.engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET not_before = '2020-01-01T00:00:00.000Z'"))


def test_without_its_database_a_service_lives_but_is_not_ready(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings(database_url="sqlite:////nowhere/at/all.db")) as client:
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert client.get("/v1/runs").status_code == 503


def test_the_page_lists_experiments_and_escapes_their_names(
    client: TestClient, spec: dict[str, Any], work: Callable[[], int]
) -> None:
    assert "No experiments yet" in client.get("/").text
    made = client.post("/v1/experiments", json={**spec, "name": "<script>alert(1)</script>"}).json()
    assert "not yet" in client.get("/").text
    work()
    answer = client.get("/")
    assert "<script>" not in answer.text
    assert f'href="/experiments/{made["id"]}/report"' in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "http" not in answer.text


def test_the_documentation_names_every_route_and_loads_nothing(client: TestClient) -> None:
    page = client.get("/docs").text
    for path in client.get("/openapi.json").json()["paths"]:
        assert path in page
    assert "<script" not in page
