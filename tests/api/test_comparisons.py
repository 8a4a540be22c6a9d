"""Comparisons over HTTP: names are checked against runs and the catalogue, and the similarity report is served."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.specs.model import catalogue


@pytest.fixture
def pair(client: TestClient, experiment: dict[str, Any], work: Callable[[], int]) -> list[str]:
    work()
    return [run["id"] for run in client.get("/v1/runs").json()["items"]]


def faults(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    return {fault["pointer"]: fault for fault in answer.json()["errors"]}


def test_a_comparison_ends_in_a_similarity_report(client: TestClient, pair: list[str], work: Callable[[], int]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final", "measures": ["cka"]}
    answer = client.post("/v1/comparisons", json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert (made["state"], made["results"], made["a"]) == ("queued", [], body["a"])
    assert work() == 1
    report = client.get(answer.headers["location"]).json()
    assert (report["id"], report["state"]) == (made["id"], "succeeded")
    assert report["probe_set"]["images"] == 50
    assert report["results"][0]["value"] == 0.5
    assert (report["a"], report["b"]) == (body["a"], body["b"])


def test_the_same_comparison_is_measured_once(client: TestClient, pair: list[str]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final"}
    ids = {client.post("/v1/comparisons", json=body).json()["id"] for _ in range(2)}
    assert len(ids) == 1


def test_a_comparison_may_be_done_in_parts(client: TestClient, pair: list[str], work: Callable[[], int]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final", "measures": ["cka"]}
    made = client.post("/v1/comparisons", json={**body, "parts": 3}).json()
    assert made["state"] == "waiting"
    assert work() == 4
    assert client.get(f"/v1/comparisons/{made['id']}").json()["results"][0]["value"] == 0.5
    for parts in (1, 3, 4):
        again = client.post("/v1/comparisons", json={**body, "parts": parts}).json()
        assert (again["id"], again["state"]) == (made["id"], "succeeded")
    assert work() == 0


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [({"parts": 0}, "1"), ({"parts": 17}, "16"), ({"images": 5, "parts": 3}, "2"), ({"parts": "many"}, None)],
    ids=str,
)
def test_more_parts_than_there_is_work_for_are_refused(
    client: TestClient, pair: list[str], changes: dict[str, Any], nearest: str | None
) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final", **changes}
    found = faults(client.post("/v1/comparisons", json=body))
    assert set(found) == {"/parts"}
    assert found["/parts"].get("nearest") == nearest


def test_the_plan_of_an_experiment_has_the_parts(client: TestClient, spec: dict[str, Any]) -> None:
    whole = client.post("/v1/experiments/plan", json=spec).json()["jobs_by_kind"]
    body = {**spec, "similarity": {**spec.get("similarity", {}), "parts": 2}}
    split = client.post("/v1/experiments/plan", json=body).json()["jobs_by_kind"]
    assert split == {**whole, "moments": 2 * whole["compare"]}


def test_an_idempotency_key_is_honoured(client: TestClient, pair: list[str]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final"}
    headers = {"Idempotency-Key": "one"}
    first, second = (client.post("/v1/comparisons", json=body, headers=headers) for _ in range(2))
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    other = client.post("/v1/comparisons", json={**body, "seed": 1}, headers=headers)
    assert other.json()["code"] == "idempotency_mismatch"


def test_comparisons_of_experiments_are_listed_too(client: TestClient, pair: list[str]) -> None:
    listed = client.get("/v1/comparisons").json()["items"]
    assert {item["a"].partition("@")[0] for item in listed} == set(pair)
    assert {item["a"].partition("@")[2] for item in listed} == {"init"}
    assert len(client.get("/v1/comparisons?limit=1").json()["items"]) == 1


def test_every_fault_of_a_comparison_is_told(client: TestClient, pair: list[str]) -> None:
    body = {"a": "none@final", "b": f"{pair[0]}@17", "dataset": "demo-retinq"}
    found = faults(client.post("/v1/comparisons", json=body))
    assert set(found) == {"/a", "/b", "/dataset"}
    assert f"{pair[0]}@final" in found["/b"]["allowed"]
    assert found["/dataset"]["nearest"].startswith("demo-retina")


def test_layers_must_be_of_both_models(client: TestClient, pair: list[str]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final"}
    found = faults(client.post("/v1/comparisons", json={**body, "layers": ["nothing"]}))
    assert set(found) == {"/layers/0"}
    assert found["/layers/0"]["allowed"]
    assert set(faults(client.post("/v1/comparisons", json={**body, "layers": []}))) == {"/layers"}


@pytest.mark.parametrize(
    ("model", "layer", "known"),
    [
        ("vit_tiny_patch16_224", "blocks.3[class]", True),
        ("vit_tiny_patch16_224", "patch_embed.proj[class]", False),
        ("vit_base_patch16_reg4_gap_256", "blocks.3[class]", False),
        ("resnet18", "layer1[class]", False),
    ],
)
def test_a_class_token_is_a_layer_where_the_model_has_one(
    client: TestClient, spec: dict[str, Any], work: Callable[[], int], model: str, layer: str, known: bool
) -> None:
    size = catalogue()[model].min_image_size
    made = client.post("/v1/experiments", json={**spec, "models": [model], "image_size": size, "seeds": 1})
    assert made.status_code == 201, made.text
    work()
    run = client.get(f"/v1/experiments/{made.json()['id']}/runs").json()["items"][0]["id"]
    answer = client.post("/v1/comparisons", json={"a": f"{run}@init", "b": f"{run}@final", "layers": [layer]})
    if known:
        assert answer.status_code == 201, answer.text
    else:
        assert layer not in faults(answer)["/layers/0"]["allowed"]


def test_models_of_other_depth_need_all_pairs(
    client: TestClient, spec: dict[str, Any], pair: list[str], work: Callable[[], int]
) -> None:
    other = client.post("/v1/experiments", json={**spec, "models": ["resnet50"], "seeds": 1}).json()
    work()
    run = client.get(f"/v1/experiments/{other['id']}/runs").json()["items"][0]["id"]
    body = {"a": f"{pair[0]}@final", "b": f"{run}@final"}
    found = faults(client.post("/v1/comparisons", json=body))
    assert found["/pairs"]["nearest"] == "all"
    told = (
        "of cbr-tiny 4 stages and of resnet50 5 stages are compared: compare all pairs, or name as many layers of each"
    )
    assert found["/pairs"]["message"] == told
    assert client.post("/v1/comparisons", json={**body, "pairs": "all"}).status_code == 201
    two = {**body, "layers": ["stage1", "stage2"], "layers_b": ["layer1", "layer4"]}
    assert client.post("/v1/comparisons", json=two).status_code == 201
    assert set(faults(client.post("/v1/comparisons", json={**two, "layers_b": ["layer1"]}))) == {"/pairs"}
    assert set(faults(client.post("/v1/comparisons", json={**two, "layers_b": ["layer1", "stage2"]}))) == {
        "/layers_b/1"
    }
    assert set(faults(client.post("/v1/comparisons", json={**two, "layers_b": []}))) == {"/layers_b", "/pairs"}
    assert set(faults(client.post("/v1/comparisons", json={**two, "layers_b": "stages", "layers": ["layer1"]}))) == {
        "/layers/0",
        "/pairs",
    }


def test_pairs_of_layers_may_be_listed(client: TestClient, pair: list[str]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final"}
    listed = {**body, "pairs": [["stage1", "stage2"], ["stage1", "stage3"]]}
    assert client.post("/v1/comparisons", json=listed).status_code == 201
    wrong = {**body, "pairs": [["stage1", "nothing"], ["nowhere", "stage3"]]}
    assert set(faults(client.post("/v1/comparisons", json=wrong))) == {"/pairs/0/1", "/pairs/1/0"}
    for broken in ({**listed, "layers": ["stage1"]}, {**body, "pairs": []}, {**body, "pairs": [["stage1"]]}):
        assert client.post("/v1/comparisons", json=broken).status_code == 422


def test_more_probe_images_than_there_are_is_a_fault(client: TestClient, pair: list[str]) -> None:
    body = {"a": f"{pair[0]}@final", "b": f"{pair[1]}@final", "dataset": "demo-retina@1", "images": 10_000}
    assert set(faults(client.post("/v1/comparisons", json=body))) == {"/images"}


def test_shape_faults_are_pointed_at(client: TestClient) -> None:
    found = faults(client.post("/v1/comparisons", json={"a": "x", "measure": ["cka"]}))
    assert set(found) == {"/a", "/b", "/measure"}
    assert found["/measure"]["nearest"] == "measures"
