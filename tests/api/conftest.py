"""An API on SQLite and a folder, its client, and a stand-in for workers that ends jobs through the db functions."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_api.app import create_app
from transfusion_core.db import jobs, series
from transfusion_core.db.engine import connect, migrate
from transfusion_core.db.records import Point
from transfusion_core.reporting.dataset import profile_charts, profile_rows
from transfusion_core.settings import Settings
from transfusion_core.specs.comparison import ComparisonResult, PairResult, ProbeSet
from transfusion_core.specs.dataset import IngestResult, Pixels, Shard
from transfusion_core.specs.profile import ClassSamples, DatasetProfile, GroupCount, Intensity
from transfusion_core.specs.report import Report, ReportSection, Row
from transfusion_core.specs.training import Checkpoint, Filters, Metrics, Series, TrainResult

MANIFEST = b"file,sha256,label,split,patient,width,height\na.png,aa,0,train,,8,8\nb.png,bb,1,test,,8,8\n"
ADMIN = "tf_admin_" + "0" * 64
CHART = {
    "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
    "data": {"values": [{"init": "random", "value": 0.7}, {"init": "pretrained", "value": 0.8}]},
    "mark": "bar",
    "encoding": {"x": {"field": "init", "type": "nominal"}, "y": {"field": "value", "type": "quantitative"}},
}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with its tables and nothing in them."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    engine = connect(f"sqlite:///{file}")
    migrate(engine)
    engine.dispose()
    return file


@pytest.fixture
def settings(tmp_path: Path, migrated: Path) -> Callable[..., Settings]:
    def make(**more: Any) -> Settings:
        shutil.copy(migrated, tmp_path / "api.db")
        words = {
            "mode": "embedded",
            "database_url": f"sqlite:///{tmp_path / 'api.db'}",
            "store_url": f"file://{tmp_path / 'store'}",
            "broker_url": "memory://",
        }
        return Settings(**{**words, **more})

    return make


def client_of(settings: Settings, **more: Any) -> TestClient:
    words = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000), "raise_server_exceptions": False}
    return TestClient(create_app(settings), **{**words, **more})


@pytest.fixture
def client(settings: Callable[..., Settings]) -> Iterator[TestClient]:
    with client_of(settings()) as made:
        yield made


@pytest.fixture
def serve() -> Callable[..., TestClient]:
    return client_of


SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 2,
    "image_size": 40,
    "training": {"steps": 4, "eval_every": 2, "checkpoints": 0},
    "sections": ["performance", "reuse"],
    "similarity": {"measures": ["cka"], "images": 50},
}


@pytest.fixture(scope="session")
def made() -> SimpleNamespace:
    return SimpleNamespace(client=client_of, spec=SPEC, work=work_off, results=RESULTS)


@pytest.fixture
def spec() -> dict[str, Any]:
    return json.loads(json.dumps(SPEC))


@pytest.fixture
def experiment(client: TestClient, spec: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/v1/experiments", json=spec)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
def work(client: TestClient) -> Callable[[], int]:
    """Do all jobs that can be done, without computing anything; says how many."""
    return lambda: work_off(client)


def work_off(client: TestClient) -> int:
    service = client.app.state.service
    done = 0
    while job := jobs.claim(service.engine, worker="test:1:1", queues=["cpu", "gpu"], lease_seconds=60):
        if job.kind == "train":
            points = [Point(step=step, name="loss", split="train", value=1.0 - step / 10) for step in (0, 2, 4)]
            series.add_points(service.engine, job.id, job.attempt, points)
            series.add_log(service.engine, job.id, job.attempt, ["started", "ended"])
        done += 1
        if job.kind not in RESULTS:  # random specs ask for any kind; to fail is an end too
            jobs.fail(service.engine, job.id, job.attempt, reason="data", error=f"no {job.kind} is made here")
            continue
        jobs.succeed(service.engine, job.id, job.attempt, RESULTS[job.kind](service.store, job))
    return done


def _ingest(store: Any, job: Any) -> dict[str, Any]:
    pack, annotations = (store.put_bytes(f"{name}/{job.key}", b"1") for name in ("packs", "annotations"))
    return IngestResult(
        digest="d" * 64,
        task="ordinal",
        images=2000,
        classes=["0", "1", "2", "3", "4"],
        splits={"train": 1300, "val": 300, "test": 400},
        channels=3,
        annotations=annotations,
        pack=[pack],
        manifest=store.put_bytes(f"manifests/{job.key}", MANIFEST),
        salt="5a" * 32,
    ).model_dump(mode="json")


def _pixels(store: Any, job: Any) -> dict[str, Any]:
    stored = store.put_bytes(f"pixels/{job.key}", b"1")
    shard = Shard(object=stored, images=2000, channels=3)
    return Pixels(size=job.spec["image_size"], channels=3, order="nhwc", shards=[shard]).model_dump(mode="json")


def _train(store: Any, job: Any) -> dict[str, Any]:
    kept = []
    for step, name in ((0, "init"), (4, "final")):
        stored = store.put_bytes(f"runs/{job.id}/{name}", f"{job.id} {name}".encode())
        digests = {"bytes": stored.size_bytes, "sha256": stored.sha256, "key": stored.key}
        kept.append(Checkpoint(step=step, name=name, **digests))
    report = {"init": "random", "tensors": [{"name": "conv1.weight", "shape": [3], "action": "random"}]}
    seen = Filters(layer="conv1", shape=[8, 3, 5, 5], pictures=[], correlations=[1.0, None])
    quality = Metrics(auroc=0.8, auprc=0.7, loss=0.5)
    return TrainResult(
        metrics={"val": quality, "test": quality},
        checkpoints=kept,
        series=[Series(name="loss", split="train", steps=[0, 2, 4], values=[1.0, 0.8, 0.6])],
        weight_report=store.put_bytes(f"runs/{job.id}/weights.json", json.dumps(report).encode()),
        filters=store.put_bytes(f"runs/{job.id}/filters.json", seen.model_dump_json().encode()),
        manifest={"seed": 0},
        steps=4,
        images_per_second=10.0,
        parameters=100,
    ).model_dump(mode="json")


def _compare(store: Any, job: Any) -> dict[str, Any]:
    result = ComparisonResult(
        probe_set=ProbeSet(digest="p" * 64, images=50),
        layers_a=["conv1"],
        layers_b=["conv1"],
        results=[PairResult(layer_a="conv1", layer_b="conv1", measure="cka", value=0.5, n=800, p=64, q=64)],
    )
    data = result.model_dump_json().encode()
    return {"report": store.put_bytes(f"comparisons/{_sha(data)}", data).model_dump()}


def _profile(store: Any, job: Any) -> dict[str, Any]:
    found = DatasetProfile(
        digest="d" * 64,
        task="ordinal",
        classes=["0", "1"],
        splits={"train": 1300, "val": 300, "test": 400},
        counts={"train": {"0": 1200, "1": 100}},
        resolutions={"64x64": 2000},
        intensities=[Intensity(channel="grey", mean=0.5, std=0.1, histogram=[1 / 32] * 32)],
        missing={},
        patients=None,
        found=[GroupCount(kind="exact", groups=0, files=0, across_splits=0, across_labels=0)],
        duplicates=[],
        leaks=[],
        samples=[ClassSamples(label="0", files=["a.png"], picture="data:image/jpeg;base64,")],
    )
    charts = profile_charts(profile_rows(found))
    return {
        "profile": store.put_bytes(f"profiles/{job.id}", found.model_dump_json().encode()).model_dump(),
        "charts": store.put_bytes(f"charts/{job.id}", json.dumps(charts).encode()).model_dump(),
    }


def _report(store: Any, job: Any) -> dict[str, Any]:
    row = Row(model="cbr-tiny", init="random", metric="auroc", value=0.8, n=2)
    section = ReportSection(complete=True, missing=[], text="One <b>row</b>.", charts={"quality": CHART}, table=[row])
    report = Report(digest="e" * 64, created_at="2026-01-01T00:00:00Z", sections={"performance": section})
    data = report.model_dump_json().encode()
    return {"report": store.put_bytes(f"reports/{_sha(data)}", data).model_dump(), "complete": True, "digest": "e" * 64}


def _sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


RESULTS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "ingest": _ingest,
    "pixels": _pixels,
    "train": _train,
    "moments": lambda store, job: {"trained": store.put_bytes(f"jobs/{job.id}/1/sums", b"1").model_dump()},
    "compare": _compare,
    "profile": _profile,
    "report": _report,
}
