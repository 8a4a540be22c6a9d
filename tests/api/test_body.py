"""Bodies are read strictly, quickly, and never end in a 500."""

import contextlib
import time

import pytest
from fastapi.testclient import TestClient

from transfusion_api.body import MAX_DEPTH, parsed
from transfusion_core.errors import InvalidRequest

HOSTILE = {
    "not json": b"{",
    "nothing": b"",
    "not utf-8": b'{"name": "\xff"}',
    "nan": b'{"name": NaN}',
    "infinity": b'{"name": -Infinity}',
    "overflow": b'{"seeds": 1e400}',
    "huge integer": b'{"seeds": ' + b"9" * 10_000 + b"}",
    "bottomless": b"[" * 10_000 + b"]" * 10_000,
    "bottomless objects": b'{"a":' * 100_000,
    "quite deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "lone surrogate": b'{"name": "\\ud800"}',
    "surrogate name": b'{"\\udfff": 1}',
    "nul": b'{"name": "a\\u0000b"}',
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_a_422_problem(client: TestClient, name: str) -> None:
    for route in ("/v1/experiments", "/v1/experiments/plan", "/v1/datasets", "/v1/comparisons", "/v1/uploads"):
        answer = client.post(route, content=HOSTILE[name], headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (route, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "invalid"


@pytest.mark.parametrize("name", HOSTILE)
def test_reading_a_hostile_body_takes_no_time(name: str) -> None:
    began = time.perf_counter()
    with contextlib.suppress(InvalidRequest):
        parsed(HOSTILE[name])
    assert time.perf_counter() - began < 0.05


def test_the_fault_says_where_the_number_is_too_large() -> None:
    with pytest.raises(InvalidRequest) as caught:
        parsed(b'{"training": {"lr": [1, 1e999]}}')
    assert [fault.pointer for fault in caught.value.faults] == ["/training/lr/1"]


def test_a_form_is_not_taken_for_json(client: TestClient) -> None:
    answer = client.post("/v1/experiments", data={"name": "x"})
    assert answer.status_code == 422
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_a_413_problem(client: TestClient, declared: bool) -> None:
    data = b'{"name": "' + b"a" * 1_100_000 + b'"}'
    content = data if declared else iter([data[:600_000], data[600_000:]])
    answer = client.post("/v1/experiments", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "too_large"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


def test_a_long_list_of_unknown_names_is_refused_quickly(client: TestClient) -> None:
    body = {"name": "x", "dataset": "demo-retina", "models": ["resnet5O" + "x" * 50] * 10_000}
    began = time.perf_counter()
    answer = client.post("/v1/experiments", json=body)
    assert answer.status_code == 422
    assert time.perf_counter() - began < 5
