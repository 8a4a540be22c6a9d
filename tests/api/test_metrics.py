"""What the service says of itself to whoever watches over it."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from transfusion_core.db import jobs, workers
from transfusion_core.errors import ObjectMissing
from transfusion_core.specs.job import QUEUES
from transfusion_core.specs.worker import Equipment, Gpu


def _samples(client: TestClient, name: str) -> dict[tuple[str, ...], float]:
    """By the values of their labels, in the order of the labels' names."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}


def test_jobs_are_told_by_state_kind_and_reason(client: TestClient, experiment: dict[str, Any]) -> None:
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    claimed = jobs.claim(engine, worker="w", queues=["cpu"], lease_seconds=60)
    assert claimed is not None
    assert 0 < _samples(client, "transfusion_lease_seconds_left")[()] <= 60
    jobs.beat(engine, claimed.id, claimed.attempt, lease_seconds=60, progress={"images_per_second": 250.0})
    assert _samples(client, "transfusion_images_per_second")[()] == 250
    assert ("cpu",) in _samples(client, "transfusion_queue_wait_seconds")
    jobs.fail(engine, claimed.id, claimed.attempt, reason="data", error="e")
    found = {frozenset(labels): count for labels, count in _samples(client, "transfusion_jobs").items()}
    assert found[frozenset(("failed", "ingest", "data"))] == 1
    assert found[frozenset(("failed", "train", "needs_failed"))] == 2
    assert _samples(client, "transfusion_lease_seconds_left") == {}


def test_what_has_ended_is_counted_from_the_start(client: TestClient) -> None:
    """Else the first failures of a kind would have no number before them from which to see them grow."""
    found = _samples(client, "transfusion_jobs")
    assert set(found) == {(kind, "", state) for kind in QUEUES for state in ("succeeded", "failed")}
    assert set(found.values()) == {0}


def test_a_lease_that_has_ended_and_that_nobody_noticed_is_seen(client: TestClient, experiment: dict[str, Any]) -> None:
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    assert jobs.claim(engine, worker="w", queues=["cpu"], lease_seconds=-5) is not None
    assert _samples(client, "transfusion_lease_seconds_left")[()] < -4


def test_workers_and_their_gpus_are_told(client: TestClient) -> None:
    gpu = Gpu(name="card", memory_bytes=100, used_bytes=30, busy=0.5)
    words = {"version": "1", "queues": ["gpu"], "cores": 2, "memory_bytes": 1, "free_bytes": 7}
    there = Equipment(slots=2, running=1, gpus=[gpu], **words)
    workers.seen(client.app.state.service.engine, "w", there)  # type: ignore[attr-defined]
    assert _samples(client, "transfusion_worker_slots") == {("busy", "w"): 1, ("free", "w"): 1}
    assert _samples(client, "transfusion_gpu_busy") == {("0", "w"): 0.5}
    assert _samples(client, "transfusion_gpu_memory_bytes") == {("0", "used", "w"): 30, ("0", "free", "w"): 70}
    assert _samples(client, "transfusion_worker_free_bytes") == {("w",): 7}


def test_requests_are_measured_by_route_and_not_by_address(client: TestClient, experiment: dict[str, Any]) -> None:
    client.get(f"/v1/experiments/{experiment['id']}")
    client.get("/v1/experiments/none")
    client.get("/no/such/address")
    client.request("BREW", "/healthz")
    found = _samples(client, "transfusion_request_seconds_count")
    route = "/v1/experiments/{experiment_id}"
    assert found["GET", route, "200"] == 1
    assert found["GET", route, "404"] == 1
    assert found["GET", "none", "404"] == 1
    assert [labels for labels in found if labels[0] == "other"]
    assert not [labels for labels in found if experiment["id"] in str(labels)]


def test_database_and_store_are_measured(client: TestClient) -> None:
    before = _samples(client, "transfusion_database_seconds_count")[()]
    client.get("/readyz")
    assert _samples(client, "transfusion_database_seconds_count")[()] > before
    assert _samples(client, "transfusion_store_seconds_count")["exists", "ok"] == 1
    with pytest.raises(ObjectMissing):
        client.app.state.service.store.get_bytes("nothing")  # type: ignore[attr-defined]
    assert _samples(client, "transfusion_store_seconds_count")["get_bytes", "ObjectMissing"] == 1
