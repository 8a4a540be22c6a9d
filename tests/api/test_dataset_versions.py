"""Manifests of dataset versions, versions that extend others, and what they have otherwise than each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.db import jobs
from transfusion_core.settings import Settings

Work = Callable[[], int]


@pytest.fixture
def body(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The spec of a dataset in a folder of its own."""

    def make(name: str = "local", **fields: Any) -> dict[str, Any]:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return {"name": name, "kind": "folder", "location": folder.as_uri(), **fields}

    return make


def test_a_manifest_is_a_table_to_download(client: TestClient, body: Callable[..., Any], work: Work) -> None:
    client.post("/v1/datasets", json=body())
    early = client.get("/v1/datasets/local/manifest")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    work()
    answer = client.get("/v1/datasets/local@1/manifest")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="local@1.csv"'
    assert answer.text.splitlines()[0] == "file,sha256,label,split,patient,width,height"
    assert client.get("/v1/datasets/none/manifest").status_code == 404
    assert client.get("/v1/datasets/local/salt").json() == {"salt": "5a" * 32}


def test_a_salt_is_for_keys_that_write(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> None:
    admin = {"Authorization": "Bearer tf_k_" + "a" * 64}
    with serve(settings(mode="service", admin_key="tf_k_" + "a" * 64)) as client:
        made = client.post("/v1/keys", json={"name": "r", "role": "read"}, headers=admin).json()
        reader = {"Authorization": f"Bearer {made['key']}"}
        assert client.get("/v1/datasets/x/salt", headers=reader).status_code == 403
        assert client.get("/v1/datasets/x/manifest", headers=reader).status_code == 404


def test_a_version_extends_another_and_says_so(client: TestClient, body: Callable[..., Any], work: Work) -> None:
    client.post("/v1/datasets", json=body())
    more = body("more") | {"name": "local", "extends": "local@1"}
    made = client.post("/v1/datasets", json=more)
    assert (made.status_code, made.json()["name"], made.json()["parent"]) == (201, "local@2", "local@1")
    assert client.post("/v1/datasets", json=more).json()["name"] == "local@2", "the same content is the same version"
    assert client.post("/v1/datasets", json=body("more")).json()["name"] == "more@1", "by itself it is another one"
    work()
    diff = client.get("/v1/datasets/local@2/diff").json()
    assert (diff["against"], diff["same"], diff["unchanged"], diff["added"]["count"]) == ("local@1", True, 2, 0)
    assert client.get("/v1/datasets/local@2/diff?against=more").json()["against"] == "more@1"
    first = client.get("/v1/datasets/local@1/diff")
    assert (first.status_code, first.json()["code"]) == (404, "not_found")
    assert "name one by 'against'" in first.json()["detail"]
    kept = client.delete("/v1/datasets/local@1")
    assert (kept.status_code, kept.json()["code"]) == (409, "conflict")
    assert "versions that extend it" in kept.json()["detail"]
    assert client.delete("/v1/datasets/local@2").status_code == 200
    assert client.delete("/v1/datasets/local@1").status_code == 200


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"extends": "loca@1"}, "/extends", "no such version (did you mean 'local@1'?)"),
        ({"extends": "local"}, "/extends", "pattern"),
        ({"extends": "drawn@1"}, "/extends", "its images are drawn"),
        ({"extends": "demo-retina@1"}, "/extends", "no such version"),
        ({"extends": "local@1", "task": "ordinal"}, "/task", "expected that of the version that is extended"),
        ({"extends": "local@1", "kind": "npz"}, "/extends", "files extend files, and arrays arrays"),
    ],
)
def test_what_cannot_be_extended_is_told(
    client: TestClient, body: Callable[..., Any], fields: dict[str, Any], pointer: str, words: str
) -> None:
    client.post("/v1/datasets", json=body())
    client.post("/v1/datasets", json={"name": "drawn", "kind": "recipe", "recipe": {"name": "demo-retina"}})
    answer = client.post("/v1/datasets", json=body("more") | fields)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == pointer
    told = fault["message"] + (f" (did you mean {fault['nearest']!r}?)" if fault.get("nearest") else "")
    assert words in told


def test_lost_bytes_of_a_version_and_its_parent_are_ingested_again_in_their_order(
    client: TestClient, body: Callable[..., Any], work: Work
) -> None:
    client.post("/v1/datasets", json=body())
    more = body("more") | {"name": "local", "extends": "local@1"}
    client.post("/v1/datasets", json=more)
    assert work() == 4
    store = client.app.state.service.store  # type: ignore[attr-defined]
    for listed in list(store.list("packs/")):
        store.delete(listed.key)
    assert client.post("/v1/datasets", json=more).json()["name"] == "local@2"
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    first = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert first is not None
    assert "parent" not in first.spec
    assert jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60) is None, "the other one waits for it"


def test_a_version_that_failed_has_no_manifest_and_is_tried_again_by_what_extends_it(
    client: TestClient, body: Callable[..., Any]
) -> None:
    client.post("/v1/datasets", json=body())
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    job = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert job is not None
    jobs.fail(engine, job.id, job.attempt, reason="data", error="no images")
    answer = client.get("/v1/datasets/local/manifest")
    assert answer.json()["detail"] == "dataset local@1 has failed: no images"
    extended = client.post("/v1/datasets", json=body("more") | {"extends": "local@1"})
    assert extended.status_code == 201, "the parent is tried again"
    assert client.get("/v1/datasets/local@1").json()["state"] == "queued"
