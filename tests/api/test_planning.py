"""What the store has lost of finished work: all of it is looked at, however much there is."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from transfusion_api.planning import lost_among
from transfusion_core.db import jobs
from transfusion_core.db.engine import transact
from transfusion_core.db.placing import place
from transfusion_core.db.scope import Scope
from transfusion_core.specs.job import JobDraft

OBJECTS = 2100


def _finished(client: TestClient, folder: Path, name: str, keys: list[str]) -> str:
    """The key of a job whose result names these objects, which are there."""
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    draft = JobDraft.make("train", {"name": name})
    transact(engine, lambda session: place(session, Scope(engine), [draft]))
    job = jobs.claim(engine, worker="w:1:1", queues=["gpu"], lease_seconds=60)
    assert job is not None
    for key in keys:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(b"")
    told: list[Any] = [{"key": key, "sha256": "0" * 64, "size_bytes": 0} for key in keys]
    jobs.succeed(engine, job.id, job.attempt, {"checkpoints": told})
    return draft.key


@pytest.mark.parametrize("shape", ["jobs/{job}/1/{number}", "packs/{job}-{number}"])
def test_the_last_of_thousands_of_objects_is_missed(client: TestClient, tmp_path: Path, shape: str) -> None:
    store = tmp_path / "store"
    many = [shape.format(job="many", number=number) for number in range(OBJECTS)]
    few = [shape.format(job="few", number=number) for number in range(2)]
    one = [shape.format(job="one", number=0)]
    drafts = {name: _finished(client, store, name, keys) for name, keys in (("m", many), ("f", few), ("o", one))}
    service = client.app.state.service  # type: ignore[attr-defined]
    assert lost_among(service, list(drafts.values())) == frozenset()
    for keys in (many, few):
        (store / keys[-1]).unlink()
    assert lost_among(service, list(drafts.values())) == {drafts["m"], drafts["f"]}


@pytest.mark.parametrize("lost", ["pixels gone", "pixels damaged", "packs gone", "nothing"])
def test_a_retry_makes_again_what_the_store_has_lost_of_a_dataset(
    client: TestClient, spec: dict[str, Any], made: Any, tmp_path: Path, lost: str
) -> None:
    """Its runs failed for want of it. Bytes are read where a run said that they are damaged, and only there."""
    experiment = client.post("/v1/experiments", json=spec).json()["id"]
    engine = client.app.state.service.engine  # type: ignore[attr-defined]
    folder = tmp_path / "store"
    while job := jobs.claim(engine, worker="w:1:1", queues=["cpu", "gpu"], lease_seconds=60):
        if job.kind == "train":
            stored = next(folder.glob("pixels/*")).relative_to(folder)
            told = f"object '{stored}': expected sha256 {'0' * 64}, got {'1' * 64}"
            jobs.fail(engine, job.id, job.attempt, reason="infrastructure", error=told)
        else:
            jobs.succeed(engine, job.id, job.attempt, made.results[job.kind](client.app.state.service.store, job))  # type: ignore[attr-defined]
    assert client.get(f"/v1/experiments/{experiment}").json()["state"] == "failed"
    for file in folder.glob(f"{lost.partition(' ')[0]}/*"):
        file.chmod(0o600)
        file.write_bytes(b"2")
        if lost.endswith("gone"):
            file.unlink()
    assert client.post(f"/v1/experiments/{experiment}/retry").status_code == 200
    with engine.connect() as connection:
        ask = "SELECT kind, count(*) FROM jobs WHERE kind IN ('ingest', 'pixels') GROUP BY kind"
        placed = dict(map(tuple, connection.exec_driver_sql(ask)))
    again = {"packs gone": {"ingest": 2, "pixels": 1}, "nothing": {"ingest": 1, "pixels": 1}}
    assert placed == again.get(lost, {"ingest": 1, "pixels": 2})
    for file in folder.glob("pixels/*"):  # its key is the job's here, and not the attempt's
        file.unlink()
    made.work(client)
    assert client.get(f"/v1/experiments/{experiment}").json()["state"] == "succeeded"
    assert client.get(f"/v1/experiments/{experiment}").json()["counts"].get("failed", 0) == 0
