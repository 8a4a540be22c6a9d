"""Every error is a problem document with a stable code and the request's id."""

from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.testclient import TestClient

from transfusion_core.errors import ObjectCorrupt, TransfusionError, Unavailable


def is_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert set(body) == {"type", "title", "status", "code", "detail", "request_id", "errors"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:transfusion:problem:{code}"
    assert answer.headers["x-request-id"] == body["request_id"]
    return body


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/nothing", 404, "not_found"),
        ("PUT", "/v1/experiments", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("GET", "/v1/experiments/none", 404, "not_found"),
        ("POST", "/v1/experiments/none/cancel", 404, "not_found"),
        ("POST", "/v1/experiments/none/resume", 404, "not_found"),
        ("POST", "/v1/experiments/none/retry", 404, "not_found"),
        ("GET", "/v1/experiments/none/runs", 404, "not_found"),
        ("GET", "/v1/experiments/none/events", 404, "not_found"),
        ("GET", "/v1/experiments/none/report", 404, "not_found"),
        ("GET", "/v1/experiments/none/report.html", 404, "not_found"),
        ("GET", "/v1/experiments/none/report.csv", 404, "not_found"),
        ("GET", "/v1/experiments/none/report/performance", 404, "not_found"),
        ("GET", "/v1/experiments/none/charts/quality.json", 404, "not_found"),
        ("GET", "/v1/experiments/none/charts/quality.gif", 404, "not_found"),
        ("GET", "/v1/runs/none", 404, "not_found"),
        ("GET", "/v1/runs/none/metrics", 404, "not_found"),
        ("GET", "/v1/runs/none/log", 404, "not_found"),
        ("GET", "/v1/runs/none/manifest", 404, "not_found"),
        ("GET", "/v1/runs/none/checkpoints", 404, "not_found"),
        ("GET", "/v1/runs/none/checkpoints/final", 404, "not_found"),
        ("GET", "/v1/runs/none/events", 404, "not_found"),
        ("GET", "/v1/comparisons/none", 404, "not_found"),
        ("GET", "/v1/datasets/none@1", 404, "not_found"),
        ("GET", "/v1/datasets/none", 404, "not_found"),
        ("GET", "/v1/models/resnet5O", 404, "not_found"),
        ("GET", "/v1/presets/none", 404, "not_found"),
        ("GET", "/v1/schemas/none", 422, "invalid"),
        ("DELETE", "/v1/keys/none", 404, "not_found"),
        ("PUT", "/v1/uploads/none/content", 404, "not_found"),
        ("GET", "/v1/runs?limit=0", 422, "invalid"),
        ("GET", "/v1/runs?limit=201", 422, "invalid"),
        ("GET", "/v1/runs?cursor=rubbish", 422, "invalid"),
        ("GET", "/v1/experiments?cursor=rubbish", 422, "invalid"),
        ("GET", "/v1/runs?state=nothing", 422, "invalid"),
        ("GET", "/v1/experiments?name=a%00b", 422, "invalid"),
        ("GET", "/v1/experiments/a%00b", 422, "invalid"),
    ],
)
def test_what_goes_wrong_is_a_problem(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    is_problem(client.request(method, path), status, code)


def test_a_parameter_that_is_refused_is_pointed_at(client: TestClient) -> None:
    body = is_problem(client.get("/v1/runs?limit=zero"), 422, "invalid")
    assert [fault["pointer"] for fault in body["errors"]] == ["/query/limit"]


def test_an_unknown_model_is_answered_with_the_nearest(client: TestClient) -> None:
    assert "resnet50" in client.get("/v1/models/resnet5O").json()["detail"]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Unavailable(), 503, "unavailable"),
        (ObjectCorrupt(), 502, "object_corrupt"),
        (TransfusionError(), 500, "internal"),
        (ZeroDivisionError("secret"), 500, "internal"),
    ],
)
def test_our_own_mistakes_are_problems_that_tell_no_secrets(
    client: TestClient, error: Exception, status: int, code: str
) -> None:
    router = APIRouter()

    def fail() -> None:
        raise error

    router.get("/fail")(fail)
    client.app.include_router(router)
    answer = client.get("/fail")
    is_problem(answer, status, code)
    assert "secret" not in answer.text
    assert (answer.headers.get("retry-after") == "2") is (status == 503)
