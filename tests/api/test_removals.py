"""Deletions over HTTP: what they answer, and the account that stays."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_api import removing
from transfusion_core.db import experiments
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Unavailable
from transfusion_core.janitor import Janitor


def _put_objects(client: TestClient, experiment_id: str) -> int:
    """An object for each of the experiment's jobs, where workers put them; how many there are for runs."""
    service = client.app.state.service
    jobs = [job for job, _ in experiments.jobs_of(Scope(service.engine), experiment_id)]
    for job in jobs:
        service.store.put_bytes(f"jobs/{job.id}/1/object", b"bytes")
    return sum(job.kind != "ingest" for job in jobs)


def test_a_delete_answers_what_went_and_the_account_says_which(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    service = client.app.state.service
    assert client.delete(f"/v1/experiments/{experiment['id']}").status_code == 409
    work()
    count = _put_objects(client, experiment["id"])
    answer = client.delete(f"/v1/experiments/{experiment['id']}")
    assert answer.status_code == 200
    removal = answer.json()
    assert (removal["kind"], removal["name"], removal["state"]) == ("experiment", experiment["id"], "done")
    assert (removal["objects"], removal["size_bytes"]) == (count, 5 * count)
    assert client.get(f"/v1/removals/{removal['id']}").json() == removal
    assert client.get("/v1/removals").json()["items"] == [removal]
    page = client.get(f"/v1/removals/{removal['id']}/objects", params={"limit": 2}).json()
    assert page["next"]
    rest = client.get(f"/v1/removals/{removal['id']}/objects", params={"cursor": page["next"]}).json()["items"]
    assert len(page["items"] + rest) == count
    assert not any(service.store.exists(each["key"]) for each in page["items"] + rest)
    left = [listed.key for listed in service.store.list("jobs/")]
    assert len(left) == 1, "the dataset's own"
    assert client.delete(f"/v1/experiments/{experiment['id']}").status_code == 404
    assert client.delete("/v1/datasets/demo-retina@1").json()["objects"] == 1
    assert list(service.store.list("jobs/")) == []
    assert client.get("/v1/datasets/demo-retina@1").status_code == 404


def test_a_delete_while_the_store_is_away_is_finished_later(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = client.app.state.service
    work()
    count = _put_objects(client, experiment["id"])

    def away(self: Janitor, removal_id: str, *, seconds: float) -> None:
        raise Unavailable("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(removing.Janitor, "finish", away)
        removal = client.delete(f"/v1/experiments/{experiment['id']}").json()
    assert (removal["state"], removal["objects"]) == ("removing", 0)
    assert client.get(f"/v1/experiments/{experiment['id']}").status_code == 404
    assert Janitor(service.engine, service.store, service.settings).go_on() == [removal["id"]]
    done = client.get(f"/v1/removals/{removal['id']}").json()
    assert (done["state"], done["objects"]) == ("done", count)
    assert done["finished_at"]


def test_what_is_not_there_is_not_found(client: TestClient) -> None:
    for path in ("/v1/removals/none", "/v1/removals/none/objects"):
        assert client.get(path).status_code == 404
    assert client.delete("/v1/datasets/none@1").status_code == 404
    assert client.delete("/v1/datasets/demo-retina").status_code == 404


def test_a_checkpoint_that_is_damaged_in_the_store_is_not_given_out_whole(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    work()
    (run, *_) = client.get("/v1/runs").json()["items"]
    checkpoint = run["checkpoints"][0]
    root = client.app.state.service.settings.store_url.removeprefix("file://")
    with open(f"{root}/{checkpoint['key']}", "r+b") as file:
        file.write(b"x")
    with pytest.raises(Exception, match="expected sha256"):
        client.app.state.service.store.get_bytes(_stored(checkpoint))
    answer = client.get(f"/v1/runs/{run['id']}/checkpoints/{checkpoint['name']}")
    assert len(answer.content) < checkpoint["bytes"]


def _stored(checkpoint: dict[str, Any]) -> Any:
    from transfusion_core.specs.dataset import StoredObject

    return StoredObject(key=checkpoint["key"], size_bytes=checkpoint["bytes"], sha256=checkpoint["sha256"])
