"""Uploads in parts: asked for, sent again, looked at, joined, and refused where they are not what was said."""

import base64
import hashlib
import random
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

PART = 5 << 20
DATA = random.Random(0).randbytes(2 * PART + 1000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


@pytest.fixture
def client(settings: Callable[..., Any], serve: Callable[..., TestClient]) -> Any:
    with serve(settings(upload_part_bytes=PART)) as made:
        yield made


@pytest.fixture
def upload(client: TestClient) -> str:
    made = client.post("/v1/uploads", json={"filename": "x.zip", "size_bytes": len(DATA)}).json()
    assert (made["part_bytes"], made["state"]) == (PART, "open")
    identity: str = made["id"]
    return identity


def part(number: int) -> bytes:
    return DATA[(number - 1) * PART : number * PART]


def put(client: TestClient, upload: str, number: int, data: bytes | None = None) -> Any:
    body = part(number)
    asked = client.post(f"/v1/uploads/{upload}/parts", json={"parts": [{"number": number, "md5": md5(body)}]})
    (link,) = asked.json()["items"]
    assert link["size_bytes"] == len(body)
    return client.request(link["method"], link["url"], content=data or body, headers=link["headers"])


def complete(client: TestClient, upload: str, sha256: str = SHA256) -> Any:
    return client.post(f"/v1/uploads/{upload}/complete", json={"sha256": sha256})


def received(client: TestClient, upload: str) -> list[int]:
    found: list[int] = client.get(f"/v1/uploads/{upload}").json()["received"]
    return found


def test_parts_become_a_file_once_all_are_there(client: TestClient, upload: str) -> None:
    assert received(client, upload) == []
    for number in (3, 1):
        assert put(client, upload, number).status_code == 204
    assert received(client, upload) == [1, 3]
    early = complete(client, upload)
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    assert "of 3 parts it lacks 2" in early.json()["detail"]
    put(client, upload, 2)
    assert complete(client, upload).json()["state"] == "finished"
    assert complete(client, upload).status_code == 200, "asked twice is the same as once"
    assert complete(client, upload, "0" * 64).status_code == 422
    assert put_again(client, upload) == 409
    store = client.app.state.service.store  # type: ignore[attr-defined]
    assert store.get_bytes(f"uploads/{upload}") == DATA
    assert list(store.unfinished()) == []
    body = {"name": "w", "location": f"upload:{upload}"}
    assert client.post("/v1/datasets", json={**body, "kind": "folder"}).status_code == 201


def put_again(client: TestClient, upload: str) -> int:
    return client.put(f"/v1/uploads/{upload}/parts/1", content=part(1)).status_code


def test_a_part_is_taken_as_it_was_announced(client: TestClient, upload: str) -> None:
    damaged = put(client, upload, 1, b"x" + part(1)[1:])
    assert "did not arrive as it was sent" in damaged.json()["detail"]
    short = put(client, upload, 3, b"short")
    assert short.json()["detail"] == "expected 1000 bytes, as announced; got 5"
    assert client.put(f"/v1/uploads/{upload}/parts/4", content=b"x").status_code == 422
    unknown = client.post(f"/v1/uploads/{upload}/parts", json={"parts": [{"number": 1}, {"number": 4}]})
    (fault,) = unknown.json()["errors"]
    assert (fault["pointer"], fault["allowed"]) == ("/parts/1/number", ["1 .. 3"])
    assert received(client, upload) == []
    assert client.get("/v1/uploads/none").status_code == 404


def test_other_bytes_than_were_meant_are_thrown_away_and_can_be_sent_again(client: TestClient, upload: str) -> None:
    for number in (1, 2, 3):
        put(client, upload, number)
    refused = complete(client, upload, "0" * 64)
    (fault,) = refused.json()["errors"]
    assert (refused.status_code, fault["pointer"]) == (422, "/sha256")
    assert SHA256 in fault["message"]
    assert received(client, upload) == []
    for number in (1, 2, 3):
        assert put(client, upload, number).status_code == 204
    assert complete(client, upload).status_code == 200


def test_a_file_that_came_whole_is_checked_by_its_digest_too(client: TestClient) -> None:
    made = client.post("/v1/uploads", json={"filename": "x.zip", "size_bytes": 4}).json()
    assert complete(client, made["id"]).status_code == 409, "nothing was sent yet"
    client.put(made["url"], content=b"data", headers=made["headers"])
    assert complete(client, made["id"]).status_code == 422
    assert complete(client, made["id"], hashlib.sha256(b"data").hexdigest()).status_code == 200


def test_a_huge_file_has_larger_parts(settings: Callable[..., Any], serve: Callable[..., TestClient]) -> None:
    with serve(settings(max_upload_bytes=10**12)) as client:
        made = client.post("/v1/uploads", json={"filename": "x.zip", "size_bytes": 10**12}).json()
        assert made["part_bytes"] == 10**8
