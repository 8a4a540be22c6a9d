"""Exports to MLflow: against a tracking server in memory that keeps the rules of MLflow's REST API."""

import json
import re
from typing import Any

import httpx2
import pytest

from transfusion_client.client import Client
from transfusion_client.mlflow import BATCH, Tracking
from transfusion_core.errors import InvalidRequest, Unavailable
from transfusion_core.specs.experiment import Experiment, Run
from transfusion_core.specs.training import Series

NOW, LATER = "2026-01-01T00:00:00.000Z", "2026-01-01T00:01:40.000Z"


class Server:
    """What MLflow keeps."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: list[dict[str, Any]] = []
        self.artifacts: dict[str, Any] = {}
        self.artifact_root = "mlflow-artifacts:/1"
        self.breaks_at: str | None = None

    def transport(self) -> httpx2.MockTransport:
        return httpx2.MockTransport(self._answer)

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.removeprefix("/api/2.0/")
        if path == self.breaks_at:
            return httpx2.Response(500, text="broken")
        if path.startswith("mlflow-artifacts/"):
            self.artifacts[path.removeprefix("mlflow-artifacts/artifacts/")] = json.loads(request.content)
            return httpx2.Response(200, json={})
        body = json.loads(request.content)
        found = getattr(self, "_" + re.sub(r"[/-]", "_", path.removeprefix("mlflow/")))(body)
        return httpx2.Response(200, json=found)

    def _experiments_search(self, body: dict[str, Any]) -> dict[str, Any]:
        name = re.fullmatch(r"""name = (['"])(.*)\1""", body["filter"]).group(2)  # type: ignore[union-attr]
        return {"experiments": [{"experiment_id": self.experiments[name]}]} if name in self.experiments else {}

    def _experiments_create(self, body: dict[str, Any]) -> dict[str, Any]:
        self.experiments[body["name"]] = str(len(self.experiments) + 1)
        return {"experiment_id": self.experiments[body["name"]]}

    def _runs_search(self, body: dict[str, Any]) -> dict[str, Any]:
        wanted = re.fullmatch(r"tags\.`transfusion\.run` = '(.*)'", body["filter"]).group(1)  # type: ignore[union-attr]
        assert body["experiment_ids"]
        return {"runs": [run for run in self.runs if run["tags"].get("transfusion.run") == wanted]}

    def _runs_create(self, body: dict[str, Any]) -> dict[str, Any]:
        run = {**body, "run_id": f"m{len(self.runs)}", "metrics": [], "params": {}, "tags": {}, "status": "RUNNING"}
        self.runs.append(run)
        place = f"{self.artifact_root}/{run['run_id']}/artifacts"
        return {"run": {"info": {"run_id": run["run_id"], "artifact_uri": place}}}

    def _runs_log_batch(self, body: dict[str, Any]) -> dict[str, Any]:
        run = self._of(body)
        assert len(body.get("metrics", [])) <= 1000
        assert len(body.get("params", [])) <= 100
        run["metrics"] += body.get("metrics", [])
        for kind in ("params", "tags"):
            run[kind] |= {each["key"]: each["value"] for each in body.get(kind, [])}
        return {}

    def _runs_update(self, body: dict[str, Any]) -> dict[str, Any]:
        self._of(body).update(status=body["status"], end_time=body["end_time"])
        return {}

    def _of(self, body: dict[str, Any]) -> dict[str, Any]:
        return next(run for run in self.runs if run["run_id"] == body["run_id"])


def _run(run_id: str, state: str = "succeeded", **more: Any) -> Run:
    words = {"model": "cbr-tiny", "init": "random", "train_size": 64, "seed": 1, "dataset": "retina@1", "attempt": 1}
    return Run(id=run_id, key="k", state=state, created_at=NOW, finished_at=LATER, **{**words, **more})


class Ours:
    """A client with one experiment."""

    def __init__(self, *runs: Run, name: str = "study") -> None:
        self.all = runs
        spec = {"image_size": 24, "training": {"lr": 0.1, "augmentation": {"flip": True}, "schedule": None}}
        self.record = Experiment(
            id="e1", name=name, state="succeeded", spec=spec, digest="d", counts={}, progress=1, created_at=NOW
        )
        self.experiments = self.runs = self

    def get(self, identity: str) -> Any:
        return self.record if identity == "e1" else next(run for run in self.all if run.id == identity)

    def metrics(self, run_id: str) -> list[Series]:
        steps = list(range(0, 1500))
        return [
            Series(name="loss", split="train", steps=steps, values=[0.5] * 1499 + [None]),
            Series(name="auroc", split="val", steps=[0, 1499], values=[0.5, 0.75]),
        ]


@pytest.fixture
def server() -> Server:
    return Server()


def export(server: Server, ours: Ours, **more: Any) -> Any:
    ours.experiments = type("E", (), {"get": ours.get, "runs": lambda self, _: ours.all})()
    client: Client = ours  # type: ignore[assignment]
    with Tracking("http://mlflow:5000/", transport=server.transport()) as tracking:
        return tracking.export(client, "e1", **more)


def test_runs_come_with_parameters_curves_status_and_provenance(server: Server) -> None:
    ours = Ours(
        _run("r1", metrics={"test": {"auroc": 0.8, "confusion": [[1]]}}, manifest={"git": "abc"}),
        _run("r2", "failed", source="natural"),
        _run("r3", "running"),
    )
    done = export(server, ours)
    assert (done.new, done.known) == (["r1", "r2"], [])
    assert server.experiments == {"transfusion/study": done.experiment_id}
    first, second = server.runs
    assert (first["status"], second["status"]) == ("FINISHED", "FAILED")
    assert first["run_name"] == "cbr-tiny random 64 seed 1"
    assert first["end_time"] - first["start_time"] == 100_000
    assert first["params"] == {
        "model": "cbr-tiny", "init": "random", "train_size": "64", "seed": "1", "dataset": "retina@1",
        "image_size": "24", "training.lr": "0.1", "training.augmentation.flip": "True",
    }  # fmt: skip
    assert second["params"]["source"] == "natural"
    curves = {(metric["key"], metric["step"]): metric for metric in first["metrics"]}
    assert len(curves) == 1499 + 2 + 1 > BATCH["metrics"]
    assert curves["val/auroc", 1499]["value"] == 0.75
    assert curves["val/auroc", 1499]["timestamp"] == first["end_time"]
    assert curves["final/test/auroc", 1499]["value"] == 0.8
    assert server.artifacts == {"1/m0/artifacts/manifest.json": {"git": "abc"}, "1/m1/artifacts/manifest.json": {}}


def test_the_same_export_again_brings_what_is_new(server: Server) -> None:
    export(server, Ours(_run("r1")), name="mine")
    done = export(server, Ours(_run("r1"), _run("r2")), name="mine")
    assert (done.new, done.known) == (["r2"], ["r1"])
    assert list(server.experiments) == ["mine"]


def test_an_export_that_is_cut_off_begins_its_run_anew(server: Server) -> None:
    server.breaks_at = "mlflow/runs/update"
    with pytest.raises(InvalidRequest, match=r"refuses api/2\.0/mlflow/runs/update: 500 broken"):
        export(server, Ours(_run("r1")))
    server.breaks_at = None
    assert export(server, Ours(_run("r1"))).new == ["r1"]


def test_artifacts_go_where_the_server_takes_them_alone(server: Server) -> None:
    server.artifact_root = "s3://theirs/1"
    assert export(server, Ours(_run("r1"))).new == ["r1"]
    assert server.artifacts == {}


def test_names_with_quotes_are_looked_for_as_they_are(server: Server) -> None:
    export(server, Ours(_run("r1"), name="the ward's study"))
    assert export(server, Ours(_run("r1"), name="the ward's study")).known == ["r1"]
    with pytest.raises(InvalidRequest, match="both kinds of quotes"):
        export(server, Ours(name="""the ward's "study\""""))


def test_what_is_no_tracking_server_is_told() -> None:
    page = httpx2.MockTransport(lambda request: httpx2.Response(200, text="<html>"))
    with Tracking("http://x", transport=page) as tracking, pytest.raises(InvalidRequest, match="got no JSON"):
        tracking.export(Ours(), "e1")  # type: ignore[arg-type]

    def away(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    away_transport = httpx2.MockTransport(away)
    with (
        Tracking("http://x", transport=away_transport) as tracking,
        pytest.raises(Unavailable, match="does not answer"),
    ):
        tracking.export(Ours(), "e1")  # type: ignore[arg-type]
