"""Quotas and workers, as callers see them: in keys, in plans, in refusals."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.db import workers
from transfusion_core.settings import Settings
from transfusion_core.specs.worker import Equipment

ADMIN = {"Authorization": "Bearer tf_admin_" + "0" * 64}
SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 1,
    "image_size": 40,
    "training": {"steps": 2},
}


@pytest.fixture
def service(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> Iterator[TestClient]:
    made = settings(mode="service", admin_key="tf_admin_" + "0" * 64)
    with serve(made, base_url="http://service.example", client=("203.0.113.9", 4)) as client:
        yield client


def _key(service: TestClient, **quota: Any) -> dict[str, str]:
    body = {"name": "small", "role": "write", "quota": quota}
    made = service.post("/v1/keys", json=body, headers=ADMIN)
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['key']}"}


def test_a_key_tells_its_quota_and_what_is_used_of_it(service: TestClient) -> None:
    _key(service, running_jobs=2, gpu_hours=5)
    found = service.get("/v1/keys", headers=ADMIN).json()["items"]
    accounts = {key["name"]: key["account"] for key in found}
    assert accounts["small"] == {
        "quota": {"running_jobs": 2, "gpu_hours": 5, "stored_bytes": None},
        "used": {"running_jobs": 0, "gpu_hours": 0, "stored_bytes": 0},
    }


@pytest.mark.parametrize("quota", [{"running_jobs": 0}, {"gpu_hours": -1}, {"gpu_days": 3}, {"stored_bytes": "much"}])
def test_what_is_no_quota_is_refused(service: TestClient, quota: dict[str, Any]) -> None:
    answer = service.post("/v1/keys", json={"name": "k", "quota": quota}, headers=ADMIN)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith("/quota/")


def test_the_plan_shows_the_quota_and_a_used_up_one_refuses(service: TestClient) -> None:
    key = _key(service, gpu_hours=0)
    planned = service.post("/v1/experiments/plan", json=SPEC, headers=key).json()
    assert planned["account"]["quota"]["gpu_hours"] == 0
    assert any("0 of 0 GPU-hours" in words for words in planned["warnings"])
    refused = service.post("/v1/experiments", json=SPEC, headers=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "quota_exceeded")
    assert "GPU-hours of the last 30 days are used" in refused.json()["detail"]
    assert service.get("/v1/experiments", headers=key).json()["items"] == []


def test_the_plan_warns_of_what_goes_beyond_the_rest(service: TestClient) -> None:
    key = _key(service, gpu_hours=0.0001, stored_bytes=10)
    warnings = service.post("/v1/experiments/plan", json=SPEC, headers=key).json()["warnings"]
    assert any("GPU-hours are needed" in words for words in warnings)
    assert any("will be stored, and 10 are left" in words for words in warnings)
    assert service.post("/v1/experiments", json=SPEC, headers=key).status_code == 201


def test_workers_are_listed_and_the_plan_says_what_they_cannot_do(client: TestClient) -> None:
    assert client.get("/v1/workers").json() == {"items": [], "next": None}
    before = client.post("/v1/experiments/plan", json=SPEC).json()
    assert [words for words in before["warnings"] if "no worker is there" in words]
    there = Equipment(
        version="1", queues=["gpu", "cpu"], slots=1, running=0, cores=2, memory_bytes=1 << 36, free_bytes=1
    )
    workers.seen(client.app.state.service.engine, "w", there)  # type: ignore[attr-defined]
    assert [worker["name"] for worker in client.get("/v1/workers").json()["items"]] == ["w"]
    after = client.post("/v1/experiments/plan", json=SPEC).json()
    assert not [words for words in after["warnings"] if "worker" in words]
    assert {demand["queue"] for demand in after["demands"]} == {"gpu", "cpu"}
