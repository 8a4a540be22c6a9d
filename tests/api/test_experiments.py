"""Experiments over HTTP: created whole or not at all, listed, cancelled, replayed."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

BAD = {
    "name": "bad",
    "dataset": "demo-retinq",
    "models": ["resnet5O", "inception_v3"],
    "inits": ["random", "gabor"],
    "seeds": 0,
    "image_size": 40,
    "colour": "blue",
}


def pointers(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault for fault in answer.json()["errors"]}


def nothing_exists(client: TestClient) -> bool:
    routes = ("experiments", "runs", "comparisons", "datasets")
    return all(client.get(f"/v1/{route}").json() == {"items": [], "next": None} for route in routes)


def test_one_answer_holds_every_fault_and_nothing_is_created(client: TestClient) -> None:
    for route in ("/v1/experiments", "/v1/experiments/plan"):
        found = pointers(client.post(route, json=BAD))
        assert found["/models/0"]["nearest"] == "resnet50"
        assert found["/models/0"]["value"] == "resnet5O"
        assert "resnet50" in found["/models/0"]["allowed"]
        assert found["/inits/1/kind"]["allowed"]
        assert "inception_v3" in found["/inits/1/kind"]["message"]
        assert found["/image_size"]["nearest"] == "75"
        assert "unknown field" in found["/colour"]["message"]
        assert found["/seeds"]["value"] == 0
        assert found["/dataset"]["nearest"].startswith("demo-retina")
    assert nothing_exists(client)


def test_too_few_probe_images_for_cca_are_refused(client: TestClient, spec: dict[str, Any]) -> None:
    spec["models"], spec["sections"] = ["resnet50"], ["similarity"]
    spec["similarity"] = {"measures": ["cca"], "images": 100}
    found = pointers(client.post("/v1/experiments", json=spec))
    assert set(found) & {"/similarity/images", "/similarity/measures"}
    assert nothing_exists(client)


def test_a_created_experiment_is_answered_whole(client: TestClient, spec: dict[str, Any]) -> None:
    answer = client.post("/v1/experiments", json=spec)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/experiments/{made['id']}"
    assert made["state"] == "queued"
    assert made["spec"]["dataset"] == "demo-retina@1"
    assert made["spec"]["training"]["optimizer"] == "adam"
    assert sum(made["counts"].values()) == 7
    assert client.get(answer.headers["location"]).json() == made
    assert client.get("/v1/experiments").json()["items"] == [made]


def test_a_plan_creates_nothing_and_knows_what_exists(client: TestClient, spec: dict[str, Any]) -> None:
    plan = client.post("/v1/experiments/plan", json=spec).json()
    assert [run["exists"] for run in plan["runs"]] == [False, False]
    assert plan["jobs_by_kind"] == {"ingest": 1, "pixels": 1, "train": 2, "compare": 2, "report": 1}
    assert plan["images_to_train"] == 2 * 4 * 32
    assert nothing_exists(client)
    made = client.post("/v1/experiments", json=spec).json()
    again = client.post("/v1/experiments/plan", json={**spec, "seeds": 3}).json()
    assert [run["exists"] for run in again["runs"]] == [True, True, False]
    assert plan["digest"] == made["digest"]


def test_experiments_that_share_cells_share_their_runs(client: TestClient, spec: dict[str, Any]) -> None:
    first = client.post("/v1/experiments", json=spec).json()
    second = client.post("/v1/experiments", json={**spec, "name": "other", "seeds": 3}).json()
    ids = [
        {run["id"] for run in client.get(f"/v1/experiments/{made['id']}/runs").json()["items"]}
        for made in (first, second)
    ]
    assert len(ids[0]) == 2
    assert ids[0] < ids[1]


def test_work_whose_bytes_are_gone_is_done_again(
    client: TestClient, spec: dict[str, Any], experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    assert work() == 7
    again = client.post("/v1/experiments", json=spec).json()
    assert again["state"] == "succeeded"
    store = client.app.state.service.store
    for listed in list(store.list("runs/")):
        store.delete(listed.key)
    plan = client.post("/v1/experiments/plan", json=spec).json()
    assert [run["exists"] for run in plan["runs"]] == [False, False]
    assert client.post("/v1/experiments", json=spec).json()["state"] != "succeeded"
    assert work() >= 2


def test_the_same_idempotency_key_gives_the_same_answer(client: TestClient, spec: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "one"}
    first, second = (client.post("/v1/experiments", json=spec, headers=headers) for _ in range(2))
    assert second.status_code == first.status_code == 201
    assert second.json() == first.json()
    assert second.headers["location"] == first.headers["location"]
    other = client.post("/v1/experiments", json={**spec, "name": "other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    third = client.post("/v1/experiments", json=spec, headers={"Idempotency-Key": "two"})
    assert third.json()["id"] != first.json()["id"]
    assert len(client.get("/v1/experiments").json()["items"]) == 2


def test_pages_hold_every_experiment_once(client: TestClient, spec: dict[str, Any]) -> None:
    made = [client.post("/v1/experiments", json={**spec, "name": f"n{i}"}).json()["id"] for i in range(5)]
    seen: list[str] = []
    cursor = None
    while True:
        page = client.get("/v1/experiments", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert [item["id"] for item in client.get("/v1/experiments?name=n3").json()["items"]] == [made[3]]
    assert client.get("/v1/experiments?state=failed").json()["items"] == []
    assert len(client.get("/v1/experiments?state=queued").json()["items"]) == 5


def test_a_cancelled_experiment_stays_cancelled_and_can_be_resumed(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    path = f"/v1/experiments/{experiment['id']}"
    assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
    again = client.post(f"{path}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert work() == 1  # the dataset's own ingest, which outlives who named it
    assert client.get(path).json()["state"] == "cancelled"
    assert client.post(f"{path}/resume").json()["state"] in ("queued", "running")
    assert work() == 6
    assert client.get(path).json()["state"] == "succeeded"
    assert client.post(f"{path}/cancel").status_code == 409


def test_an_ended_experiment_replays_its_events_and_ends(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    work()
    path = f"/v1/experiments/{experiment['id']}/events"
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    ids = event_ids(answer.text)
    assert len(ids) >= 6
    assert ids == sorted(ids)
    assert "event: end" in answer.text
    resumed = client.get(path, headers={"Last-Event-ID": str(ids[2])})
    assert event_ids(resumed.text) == ids[3:]
    assert event_ids(client.get(path, headers={"Last-Event-ID": str(2**62)}).text) == []


@pytest.mark.parametrize("last_id", ["x", "-1", str(2**63)])
def test_a_last_event_id_that_is_none_is_refused(client: TestClient, experiment: dict[str, Any], last_id: str) -> None:
    answer = client.get(f"/v1/experiments/{experiment['id']}/events", headers={"Last-Event-ID": last_id})
    assert answer.status_code == 422


def event_ids(text: str) -> list[int]:
    return [int(line.removeprefix("id: ")) for line in text.splitlines() if line.startswith("id: ")]


def _fork(client: TestClient, made: dict[str, Any], patch: Any, **headers: str) -> Any:
    return client.post(f"/v1/experiments/{made['id']}/fork", json=patch, headers=headers)


def test_a_fork_computes_only_what_is_new(
    client: TestClient, experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    assert work() == 7
    answer = _fork(client, experiment, {"seeds": 3, "name": "three seeds"})
    assert answer.status_code == 201
    forked = answer.json()
    assert answer.headers["location"] == f"/v1/experiments/{forked['id']}"
    assert (forked["parent"], forked["name"], forked["spec"]["seeds"]) == (experiment["id"], "three seeds", 3)
    assert work() == 3, "a run, its comparison, and the report"


def test_a_fork_by_nothing_is_the_same_experiment_again(client: TestClient, spec: dict[str, Any]) -> None:
    natural = {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2, "eval_every": 2}}}
    inits = ["random", {"kind": "transfuse", "source": "natural", "prefix": "all"}, "gabor"]
    whole = {**spec, "sources": {"natural": natural}, "inits": inits, "models": ["cbr-small"]}
    del whole["sections"], whole["similarity"]
    made = client.post("/v1/experiments", json=whole).json()
    forked = _fork(client, made, {}).json()
    assert (forked["digest"], forked["spec"], forked["counts"]) == (made["digest"], made["spec"], made["counts"])
    merge = "application/merge-patch+json"
    path = f"/v1/experiments/{made['id']}/fork"
    assert client.post(path, content=b"{}", headers={"Content-Type": merge}).status_code == 201


def test_faults_of_a_fork_point_into_the_patched_spec(client: TestClient, experiment: dict[str, Any]) -> None:
    problem = _fork(client, experiment, {"training": {"lr": -1}, "model": ["x"]}).json()
    assert {fault["pointer"] for fault in problem["errors"]} == {"/training/lr", "/model"}
    assert _fork(client, experiment, {"models": None}).json()["errors"][0]["pointer"] == "/models"
    listed = _fork(client, experiment, ["seeds"])
    assert listed.status_code == 422
    assert "merge patch" in listed.json()["detail"]
    assert client.post("/v1/experiments/none/fork", json={}).status_code == 404
    assert len(client.get("/v1/experiments").json()["items"]) == 1


def test_a_fork_sent_twice_is_made_once(client: TestClient, experiment: dict[str, Any]) -> None:
    first, second = (_fork(client, experiment, {"seeds": 3}, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json() == second.json()
    assert _fork(client, experiment, {"seeds": 4}, **{"Idempotency-Key": "k"}).json()["code"] == "idempotency_mismatch"
    assert client.post("/v1/experiments", json={}, headers={"Idempotency-Key": "k"}).status_code == 422


def _combine(client: TestClient, body: Any, **headers: str) -> Any:
    return client.post("/v1/experiments/combine", json=body, headers=headers)


def test_experiments_are_combined_and_nothing_is_trained_again(
    client: TestClient, spec: dict[str, Any], experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "name": "other", "models": ["cbr-small"], "seeds": 1}).json()
    work()
    answer = _combine(client, {"experiments": [experiment["id"], other["id"]]})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert answer.headers["location"] == f"/v1/experiments/{made['id']}"
    assert (made["name"], made["parent"]) == ("small and other", experiment["id"])
    assert work() == 1, "the report alone is new"
    assert client.get(f"/v1/experiments/{made['id']}").json()["state"] == "succeeded"
    runs = client.get(f"/v1/experiments/{made['id']}/runs").json()["items"]
    assert sorted((run["model"], run["seed"]) for run in runs) == [("cbr-small", 0), ("cbr-tiny", 0), ("cbr-tiny", 1)]


def test_faults_of_a_combination_point_at_the_experiments(
    client: TestClient, spec: dict[str, Any], experiment: dict[str, Any]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "image_size": 48}).json()
    answer = _combine(client, {"experiments": [experiment["id"], "none", other["id"]]})
    assert answer.status_code == 422
    told = {fault["pointer"]: fault["message"] for fault in answer.json()["errors"]}
    assert told["/experiments/1"] == "there is no experiment 'none'"
    assert told["/experiments/2"].endswith("in /image_size: expected 40, got 48")
    assert _combine(client, {"experiments": [experiment["id"]]}).json()["errors"][0]["pointer"] == "/experiments"
    assert _combine(client, [experiment["id"]]).status_code == 422
    assert len(client.get("/v1/experiments").json()["items"]) == 2


def test_what_experiments_ask_too_much_of_only_together_is_a_fault_of_all(
    client: TestClient, spec: dict[str, Any]
) -> None:
    few = {**spec, "sections": ["performance"], "similarity": {"measures": ["cca"], "images": 5}}
    ids = [client.post("/v1/experiments", json={**few, "inits": [init]}).json()["id"] for init in ("random", "gabor")]
    (fault,) = _combine(client, {"experiments": ids, "sections": ["similarity"]}).json()["errors"]
    assert fault["pointer"] == "/experiments"
    assert fault["message"].startswith("together they ask too much: /similarity/images: cca of cbr-tiny")


def test_a_combination_is_forked_and_combined_like_any_experiment(
    client: TestClient, spec: dict[str, Any], experiment: dict[str, Any], work: Callable[[], int]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "models": ["cbr-small"], "seeds": 1}).json()
    third = client.post("/v1/experiments", json={**spec, "train_sizes": [64], "seeds": 1}).json()
    work()
    made = _combine(client, {"experiments": [experiment["id"], other["id"]]}).json()
    again = _combine(client, {"experiments": [made["id"], third["id"]]})
    assert (again.status_code, work()) == (201, 2), "two reports, and no training"
    assert _fork(client, made, {}).json()["digest"] == made["digest"]
    assert _fork(client, made, {"seeds": 3}).json()["errors"][0]["pointer"] == "/seeds"
    assert work() == 0
    whole = _fork(client, made, {"grids": None}).json()
    assert (sum(whole["counts"].values()), work()) == (sum(made["counts"].values()) + 2, 3)


def test_a_combination_sent_twice_is_made_once(
    client: TestClient, spec: dict[str, Any], experiment: dict[str, Any]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "models": ["cbr-small"]}).json()
    body = {"experiments": [experiment["id"], other["id"]]}
    first, second = (_combine(client, body, **{"Idempotency-Key": "k"}) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]


def test_the_key_of_an_experiment_that_was_deleted_says_so(client: TestClient, spec: dict[str, Any]) -> None:
    headers = {"Idempotency-Key": "gone"}
    made = client.post("/v1/experiments", json=spec, headers=headers).json()
    client.post(f"/v1/experiments/{made['id']}/cancel")
    assert client.delete(f"/v1/experiments/{made['id']}").status_code == 200
    again = client.post("/v1/experiments", json=spec, headers=headers)
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    assert "was deleted" in again.json()["detail"]
