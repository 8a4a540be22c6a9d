"""Runs over HTTP: curves, logs, checkpoints and provenance."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.tables import Job


@pytest.fixture
def run(client: TestClient, experiment: dict[str, Any], work: Callable[[], int]) -> dict[str, Any]:
    work()
    items = client.get("/v1/runs").json()["items"]
    found: dict[str, Any] = items[0]
    return found


def test_a_run_waits_before_it_is_done(client: TestClient, experiment: dict[str, Any]) -> None:
    runs = client.get("/v1/runs").json()["items"]
    assert [run["state"] for run in runs] == ["waiting", "waiting"]
    assert client.get(f"/v1/runs/{runs[0]['id']}/metrics").json() == {"series": []}
    assert client.get(f"/v1/runs/{runs[0]['id']}/log").json() == {"lines": []}
    assert client.get(f"/v1/runs/{runs[0]['id']}/manifest").json() == {"manifest": None}
    assert client.get(f"/v1/runs/{runs[0]['id']}/checkpoints").json()["items"] == []
    filters = client.get(f"/v1/runs/{runs[0]['id']}/filters").json()
    assert filters == {"filters": None, "reason": "they are drawn when the run has succeeded"}


def test_a_run_tells_what_became_of_its_tensors(client: TestClient, run: dict[str, Any]) -> None:
    whole = client.get(f"/v1/runs/{run['id']}").json()
    assert whole["state"] == "succeeded"
    assert whole["weight_report"]["tensors"][0]["action"] == "random"
    assert whole["manifest"] == {"seed": 0}
    assert client.get(f"/v1/runs/{run['id']}/manifest").json() == {"manifest": {"seed": 0}}


def test_curves_come_as_series(client: TestClient, run: dict[str, Any]) -> None:
    assert client.get(f"/v1/runs/{run['id']}/metrics").json() == {
        "series": [{"name": "loss", "split": "train", "steps": [0, 2, 4], "values": [1.0, 0.8, 0.6]}]
    }
    assert client.get(f"/v1/runs/{run['id']}/log").json() == {"lines": ["started", "ended"]}


def test_a_run_shows_what_its_first_layer_sees(client: TestClient, run: dict[str, Any]) -> None:
    found = client.get(f"/v1/runs/{run['id']}/filters").json()
    assert found["filters"] == {"layer": "conv1", "shape": [8, 3, 5, 5], "pictures": [], "correlations": [1.0, None]}
    assert found["reason"] is None
    with unit_of_work(client.app.state.service.engine) as session:
        job = session.get_one(Job, run["id"])
        job.result = {name: value for name, value in job.result.items() if name != "filters"}
    found = client.get(f"/v1/runs/{run['id']}/filters").json()
    assert found["filters"] is None
    assert "before filters were kept" in found["reason"]


def test_checkpoints_can_be_downloaded(client: TestClient, run: dict[str, Any]) -> None:
    kept = client.get(f"/v1/runs/{run['id']}/checkpoints").json()["items"]
    assert [each["name"] for each in kept] == ["init", "final"]
    answer = client.get(kept[1]["url"])
    assert answer.content == f"{run['id']} final".encode()
    assert answer.headers["content-disposition"].startswith("attachment")
    assert client.get(f"/v1/runs/{run['id']}/checkpoints/17").status_code == 404


def test_a_checkpoint_that_the_store_lost_is_a_404(client: TestClient, run: dict[str, Any]) -> None:
    store = client.app.state.service.store
    for listed in list(store.list("runs/")):
        store.delete(listed.key)
    answer = client.get(f"/v1/runs/{run['id']}/checkpoints/final")
    assert (answer.status_code, answer.json()["code"]) == (404, "object_missing")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("model=cbr-tiny", 2),
        ("model=resnet50", 0),
        ("init=random", 2),
        ("init=gabor", 0),
        ("state=succeeded", 2),
        ("state=failed", 0),
        ("dataset=demo-retina@1", 2),
        ("dataset=none@1", 0),
        ("experiment=none", 0),
    ],
)
def test_runs_are_filtered(client: TestClient, run: dict[str, Any], query: str, count: int) -> None:
    assert len(client.get(f"/v1/runs?{query}").json()["items"]) == count


def test_an_ended_run_replays_its_events(client: TestClient, run: dict[str, Any]) -> None:
    answer = client.get(f"/v1/runs/{run['id']}/events")
    assert "event: end" in answer.text
    ids = [line for line in answer.text.splitlines() if line.startswith("id: ")]
    last = {"Last-Event-ID": ids[-1].removeprefix("id: ")}
    assert "\nid: " not in client.get(f"/v1/runs/{run['id']}/events", headers=last).text
