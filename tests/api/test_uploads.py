"""Uploads and what is made of them: datasets and weights."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from transfusion_core.db import weights
from transfusion_core.db.tables import Job
from transfusion_core.janitor import Janitor
from transfusion_core.settings import Settings


def upload(client: TestClient, data: bytes, filename: str = "source.safetensors") -> str:
    made = client.post("/v1/uploads", json={"filename": filename, "size_bytes": len(data)}).json()
    answer = client.request(made["method"], made["url"], content=data, headers=made["headers"])
    assert answer.status_code == 200, answer.text
    upload_id: str = made["id"]
    return upload_id


def test_an_upload_becomes_a_dataset(client: TestClient) -> None:
    location = f"upload:{upload(client, b'zip', 'images.zip')}"
    answer = client.post("/v1/datasets", json={"name": "up", "kind": "folder", "location": location})
    assert (answer.status_code, answer.json()["name"]) == (201, "up@1")


def test_the_same_bytes_sent_again_are_the_same_version_and_read_where_they_are_now(client: TestClient) -> None:
    first, second, other = (f"upload:{upload(client, data, 'images.zip')}" for data in (b"zip", b"zip", b"more"))
    spec = {"name": "up", "kind": "folder"}
    answers = [client.post("/v1/datasets", json={**spec, "location": each}) for each in (first, second, first, other)]
    assert [(each.status_code, each.json()["name"]) for each in answers] == [
        (201, "up@1"),
        (200, "up@1"),
        (200, "up@1"),
        (201, "up@2"),
    ]
    client.post("/v1/datasets", json={**spec, "location": second})
    with Session(client.app.state.service.engine) as session:
        ingests = session.scalars(select(Job.spec).where(Job.kind == "ingest").order_by(Job.id)).all()
    assert [each["location"] for each in ingests] == [second, other], "the first of them may have gone"


def test_bytes_are_taken_once_and_as_announced(client: TestClient) -> None:
    made = client.post("/v1/uploads", json={"filename": "a.pt", "size_bytes": 4}).json()
    short = client.put(made["url"], content=b"abc")
    assert (short.status_code, short.json()["code"]) == (422, "invalid")
    early = client.post("/v1/weights", json={"name": "w", "location": f"upload:{made['id']}"})
    assert "0 of 4 bytes" in early.json()["errors"][0]["message"]
    assert client.put(made["url"], content=iter([b"ab", b"cd"])).status_code == 200
    again = client.put(made["url"], content=b"efgh")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")


def test_an_upload_over_the_limit_is_refused(
    settings: Callable[..., Settings], serve: Callable[..., TestClient]
) -> None:
    with serve(settings(max_upload_bytes=2_000_000)) as client:
        announced = client.post("/v1/uploads", json={"filename": "a.pt", "size_bytes": 2_000_001})
        assert (announced.status_code, announced.json()["code"]) == (413, "too_large")
        made = client.post("/v1/uploads", json={"filename": "a.pt", "size_bytes": 1_500_000}).json()
        pieces = [b"x" * 1_500_000, b"x" * 1_500_000]
        over = client.put(made["url"], content=iter(pieces))
        assert (over.status_code, over.json()["code"]) == (413, "too_large")
        assert client.put(made["url"], content=pieces[0]).status_code == 200


def test_weights_are_kept_under_their_digest(client: TestClient) -> None:
    body = {"name": "source", "location": f"upload:{upload(client, b'tensors')}"}
    answer = client.post("/v1/weights", json=body)
    made = answer.json()
    assert answer.status_code == 201, answer.text
    assert made["sha256"] == hashlib.sha256(b"tensors").hexdigest()
    assert made["size_bytes"] == 7
    assert client.app.state.service.store.exists(f"weights/{made['sha256']}")
    assert client.post("/v1/weights", json=body).status_code == 201
    assert [item["name"] for item in client.get("/v1/weights").json()["items"]] == ["source"]


def test_weights_that_the_janitor_takes_before_they_are_named_are_put_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was there, of a name that is no more; its removal is over by the time of the new name."""
    service = client.app.state.service
    key = f"weights/{hashlib.sha256(b'tensors').hexdigest()}"
    real = weights.register

    def register(*args: Any, **words: Any) -> Any:
        at_once = service.settings.model_copy(update={"keep_unpointed_seconds": 0})
        assert key in [each.key for each in Janitor(service.engine, service.store, at_once).sweep().objects]
        return real(*args, **words)

    service.store.put_bytes(key, b"tensors")
    body = {"name": "w", "location": f"upload:{upload(client, b'tensors')}"}
    monkeypatch.setattr(weights, "register", register)
    assert client.post("/v1/weights", json=body).status_code == 201
    assert service.store.get_bytes(key) == b"tensors"


def test_a_name_of_weights_stands_for_the_same_bytes_for_ever(client: TestClient) -> None:
    client.post("/v1/weights", json={"name": "w", "location": f"upload:{upload(client, b'one')}"})
    answer = client.post("/v1/weights", json={"name": "w", "location": f"upload:{upload(client, b'two')}"})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


STATED = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "size": 96}
KEPT = {"channels": 3, "range": [0.0, 1.0], **STATED}


def safetensors(metadata: Any) -> bytes:
    header = json.dumps({"__metadata__": metadata}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("data", "stated", "kept"),
    [
        (b"tensors", STATED, KEPT),
        (safetensors({"input": json.dumps(STATED)}), None, KEPT),
        (safetensors({"input": json.dumps({**STATED, "size": 7})}), STATED, KEPT),
        (safetensors({"about": json.dumps({"mean": [0.5], "std": [0.2], "image_size": 64})}), None,
         {"channels": 3, "range": [0.0, 1.0], "mean": [0.5], "std": [0.2], "size": 64}),
        (safetensors({"about": "a cat"}), None, None),
        (safetensors({"format": "pt"}), None, None),
        (safetensors({"input": 3}), None, None),
        (safetensors(3), None, None),
        (b"tensors", None, None),
        (b"x", None, None),
        ((1 << 60).to_bytes(8, "little") + b"{", None, None),
        ((9).to_bytes(8, "little") + b"{" * 9, None, None),
    ],
)  # fmt: skip
def test_what_weights_expect_is_stated_or_found_in_the_file(client: TestClient, data: bytes, stated, kept) -> None:
    body = {"name": "w", "location": f"upload:{upload(client, data)}"} | ({"input": stated} if stated else {})
    answer = client.post("/v1/weights", json=body)
    assert (answer.status_code, answer.json().get("input")) == (201, kept)
    assert client.get("/v1/weights").json()["items"][0]["input"] == kept


def test_an_input_that_is_none_is_refused_with_its_place(client: TestClient, spec: dict[str, Any]) -> None:
    location = f"upload:{upload(client, safetensors({'input': '{}'}))}"
    (fault,) = client.post("/v1/weights", json={"name": "w", "location": location}).json()["errors"]
    assert fault["pointer"] == "/location"
    assert "/mean: Field required" in fault["message"]
    body = {"name": "w", "location": location, "input": {**STATED, "std": [1, 2]}}
    (fault,) = client.post("/v1/weights", json=body).json()["errors"]
    assert (fault["pointer"], fault["message"]) == ("/input", "expected 3 numbers or one in 'std', got 2")


def test_experiments_know_what_weights_expect(client: TestClient, spec: dict[str, Any]) -> None:
    body = {"name": "w", "location": f"upload:{upload(client, b'one')}", "input": {**STATED, "min_size": 2048}}
    assert client.post("/v1/weights", json=body).status_code == 201
    spec |= {"sources": {"s": {"weights": "w"}}, "inits": [{"kind": "pretrained", "source": "s"}]}
    (fault,) = client.post("/v1/experiments/plan", json=spec).json()["errors"]
    assert (fault["pointer"], fault["nearest"]) == ("/image_size", "2048")


def test_weights_of_this_machine_are_named(client: TestClient, tmp_path: Path, spec: dict[str, Any]) -> None:
    file = tmp_path / "local.pth"
    file.write_bytes(b"local")
    answer = client.post("/v1/weights", json={"name": "local", "location": file.as_uri()})
    assert answer.status_code == 201, answer.text
    spec["sources"] = {"mine": {"weights": "local"}, "typo": {"weights": "locql"}}
    spec["inits"] = [{"kind": "pretrained", "source": "mine"}]
    (fault,) = client.post("/v1/experiments", json=spec).json()["errors"]
    assert (fault["pointer"], fault["nearest"]) == ("/sources/typo/weights", "local")
    del spec["sources"]["typo"]
    assert client.post("/v1/experiments", json=spec).status_code == 201


@pytest.mark.parametrize(
    ("location", "words"),
    [("upload:none", "no upload"), ("s3://bucket/x.pt", "expected upload:ID"), ("file:///nothing.pt", "no such file")],
)
def test_weights_from_nowhere_are_refused(client: TestClient, location: str, words: str) -> None:
    answer = client.post("/v1/weights", json={"name": "w", "location": location})
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == "/location"
    assert words in fault["message"]


def test_what_is_no_weight_file_is_refused(client: TestClient, tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "x.pkl"):
        answer = client.post("/v1/weights", json={"name": "w", "location": path.as_uri()})
        assert answer.json()["errors"][0]["message"].startswith("expected a file")
    location = f"upload:{upload(client, b'x', 'x.zip')}"
    assert client.post("/v1/weights", json={"name": "w", "location": location}).status_code == 422
