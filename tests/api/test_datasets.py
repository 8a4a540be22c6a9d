"""Datasets over HTTP: versions, and where their bytes may come from."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from access import ADMIN, bearer, key_of
from transfusion_core.db import jobs
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec

TOO_LARGE = {"name": "demo-retina", "images": 1_000_000, "size": 512}
RECIPE = {"name": "mine", "kind": "recipe", "recipe": {"name": "demo-retina", "images": 100}}


def test_a_dataset_is_registered_once(client: TestClient, work: Callable[[], int]) -> None:
    first, again = (client.post("/v1/datasets", json=RECIPE) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["name"] == again.json()["name"] == "mine@1"
    assert first.headers["location"] == "/v1/datasets/mine@1"
    other = client.post("/v1/datasets", json={**RECIPE, "recipe": {"name": "demo-retina", "images": 200}})
    assert other.json()["name"] == "mine@2"
    assert client.get("/v1/datasets/mine").json()["name"] == "mine@2"
    assert work() == 4, "two ingests, two profiles"
    done = client.get("/v1/datasets/mine@1").json()
    assert (done["state"], done["images"], done["splits"]["test"]) == ("succeeded", 2000, 400)
    assert len(client.get("/v1/datasets?name=mine").json()["items"]) == 2


def test_a_profile_is_made_with_the_dataset_and_is_not_ready_before(
    client: TestClient, work: Callable[[], int]
) -> None:
    client.post("/v1/datasets", json=RECIPE)
    early = client.get("/v1/datasets/mine/profile")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    assert "the profile of mine is waiting" in early.json()["detail"]
    work()
    profile = client.get("/v1/datasets/mine@1/profile").json()
    assert profile["splits"] == {"train": 1300, "val": 300, "test": 400}
    samples = client.get("/v1/datasets/mine/samples").json()
    assert samples == {"items": profile["samples"], "next": None}


def test_a_dataset_that_an_experiment_brought_is_looked_at_when_it_is_asked_for(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    work()
    assert client.get("/v1/datasets/demo-retina/samples").json()["code"] == "not_ready"
    assert work() == 1
    assert client.get("/v1/datasets/demo-retina/profile").status_code == 200


def test_a_key_that_may_only_read_starts_no_look_at_a_dataset(
    settings: Callable[..., Settings], serve: Callable[..., TestClient], made: Any
) -> None:
    """Nor does a page of its session; who may write has it made by asking, and it is there for both."""
    with serve(settings(mode="service", admin_key=ADMIN), base_url="http://service.example") as client:
        reads, writes = (bearer(key_of(client, role=role, project="one")) for role in ("read", "write"))
        assert client.post("/v1/experiments", json=made.spec, headers=writes).status_code == 201
        made.work(client)
        for what in ("profile", "samples", "charts/classes.json", "charts/classes.svg"):
            answer = client.get(f"/v1/datasets/demo-retina/{what}", headers=reads)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
            assert "nobody has looked at demo-retina@1 yet" in answer.json()["detail"]
        assert client.get("/datasets/demo-retina", headers=reads).status_code == 200
        assert made.work(client) == 0
        assert client.get("/v1/datasets/demo-retina/profile", headers=writes).json()["code"] == "not_ready"
        assert client.get("/v1/datasets/demo-retina/profile", headers=reads).json()["code"] == "not_ready"
        assert made.work(client) == 1
        assert client.get("/v1/datasets/demo-retina/profile", headers=reads).status_code == 200


def test_a_profile_that_failed_says_so(client: TestClient) -> None:
    client.post("/v1/datasets", json=RECIPE)
    engine = client.app.state.service.engine
    job = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert job is not None
    jobs.fail(engine, job.id, job.attempt, reason="data", error="no images")
    answer = client.get("/v1/datasets/mine/profile")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert answer.json()["detail"] == "the profile of mine has failed: no images"
    told = client.get("/v1/datasets/mine").json()
    assert (told["state"], told["reason"], told["error"]) == ("failed", "data", "no images")


def test_a_profile_that_failed_by_itself_gives_its_own_words(client: TestClient) -> None:
    client.post("/v1/datasets", json=RECIPE)
    engine = client.app.state.service.engine
    job = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert job is not None
    jobs.succeed(engine, job.id, job.attempt, {})
    look = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert look is not None
    jobs.fail(engine, look.id, look.attempt, reason="bug", error="ValueError: flat")
    assert "has failed: ValueError: flat" in client.get("/v1/datasets/mine/profile").json()["detail"]


def test_a_dataset_that_failed_names_the_files_that_cannot_be_used(client: TestClient) -> None:
    client.post("/v1/datasets", json=RECIPE)
    engine = client.app.state.service.engine
    job = jobs.claim(engine, worker="test:1:1", queues=["cpu"], lease_seconds=60)
    assert job is not None
    fault = {"file": "a.png", "row": 3, "message": "the file is empty"}
    jobs.fail(engine, job.id, job.attempt, reason="data", error="1 of 2", detail={"files": [fault]})
    assert client.get("/v1/datasets/mine").json()["faults"] == [fault]


def test_there_is_no_profile_of_a_dataset_that_is_not_there(client: TestClient) -> None:
    assert client.get("/v1/datasets/none/profile").json()["code"] == "not_found"


def test_every_fault_of_a_dataset_is_told(client: TestClient) -> None:
    answer = client.post("/v1/datasets", json={"name": ".x", "kind": "receipt", "task": "ordinary"})
    found = {fault["pointer"]: fault for fault in answer.json()["errors"]}
    assert set(found) == {"/name", "/kind", "/task"}
    assert found["/kind"]["nearest"] == "recipe"
    assert client.get("/v1/datasets").json()["items"] == []


def test_a_folder_of_this_machine_is_another_version_once_it_changes(client: TestClient, tmp_path: Path) -> None:
    folder = tmp_path / "my images"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"a")
    body = {"name": "local", "kind": "folder", "location": folder.as_uri()}
    assert client.post("/v1/datasets", json=body).json()["name"] == "local@1"
    assert client.post("/v1/datasets", json=body).json()["name"] == "local@1"
    (folder / "b.png").write_bytes(b"b")
    assert client.post("/v1/datasets", json=body).json()["name"] == "local@2"
    one = {"name": "one", "kind": "npz", "location": (folder / "a.png").as_uri()}
    assert client.post("/v1/datasets", json=one).status_code == 201


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("file:///no/such/place", "no such file"),
        ("upload:none", "no upload"),
        ("s3://elsewhere/images", "below an allowed one"),
        ("s3://open-images-private/x", "below an allowed one"),
    ],
)
def test_a_location_that_cannot_be_used_is_pointed_at(
    settings: Callable[..., Settings], serve: Callable[..., TestClient], location: str, words: str
) -> None:
    with serve(settings(allowed_locations=["s3://open-images/"])) as client:
        answer = client.post("/v1/datasets", json={"name": "x", "kind": "folder", "location": location})
        (fault,) = answer.json()["errors"]
        assert (fault["pointer"], answer.status_code) == ("/location", 422)
        assert words in fault["message"]


def test_an_allowed_bucket_is_taken(settings: Callable[..., Settings], serve: Callable[..., TestClient]) -> None:
    with serve(settings(allowed_locations=["s3://open-images"])) as client:
        body: dict[str, Any] = {"name": "x", "kind": "folder", "location": "s3://open-images/retina"}
        assert client.post("/v1/datasets", json=body).status_code == 201


def test_a_service_registers_no_files_of_its_machine(
    settings: Callable[..., Settings], serve: Callable[..., TestClient], tmp_path: Path
) -> None:
    with serve(settings(mode="service", admin_key="tf_k_" + "a" * 64)) as client:
        headers = {"Authorization": "Bearer tf_k_" + "a" * 64}
        body = {"name": "x", "kind": "folder", "location": tmp_path.as_uri()}
        answer = client.post("/v1/datasets", json=body, headers=headers)
        assert answer.status_code == 422, answer.text
        assert "embedded" in answer.json()["errors"][0]["message"]


def test_a_recipe_that_is_too_large_is_refused_with_its_bytes(client: TestClient) -> None:
    answer = client.post("/v1/datasets", json={**RECIPE, "recipe": TOO_LARGE})
    (fault,) = answer.json()["errors"]
    assert (answer.status_code, fault["pointer"]) == (422, "/recipe")
    assert "are 786432000000 bytes when drawn: expected 68719476736 at most" in fault["message"]
    assert DatasetSpec.read({**RECIPE, "recipe": TOO_LARGE}).recipe, "one that was taken before is still read"
    fits = {"name": "demo-retina", "images": 10_000, "size": 512}
    assert client.post("/v1/datasets", json={**RECIPE, "recipe": fits}).status_code == 201
