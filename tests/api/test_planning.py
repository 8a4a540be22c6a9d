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
