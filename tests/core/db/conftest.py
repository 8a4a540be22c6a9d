"""A small world of jobs for the database's tests."""

from typing import Any

import pytest
from sqlalchemy import Engine

from transfusion_core.db import jobs
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.facts import facts_for
from transfusion_core.db.placing import Placed, place
from transfusion_core.db.records import ClaimedJob
from transfusion_core.db.scope import Scope
from transfusion_core.specs.check import check
from transfusion_core.specs.dataset import IngestResult, StoredObject
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.job import JobDraft

SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2}}}},
    "inits": ["random", {"kind": "pretrained", "source": "natural"}],
    "seeds": 1,
    "image_size": 40,
    "training": {"steps": 2},
    "sections": ["performance", "reuse"],
}


class World:
    """Drafts and experiments made by hand."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def draft(self, name: str, *needs: JobDraft, kind: Any = "train", **more: Any) -> JobDraft:
        return JobDraft.make(kind, {"name": name}, needs=tuple(need.key for need in needs), **more)

    def place(self, *drafts: JobDraft, **more: Any) -> Placed:
        with unit_of_work(self.engine) as session:
            return place(session, Scope(self.engine), drafts, **more)

    def expansion(self, **changes: Any) -> Expansion:
        body = {**SPEC, **changes}
        facts = facts_for(Scope(self.engine), body)
        assert check(body, facts) == []
        return expand(ExperimentSpec.model_validate(body), facts)


@pytest.fixture
def world(engine: Engine) -> World:
    return World(engine)


@pytest.fixture
def drain(engine: Engine) -> Any:
    """Do every job that can be done, in the order of claims; `failing` names kinds or labels' inits that fail."""

    def work(*failing: str) -> list[str]:
        done = []
        while job := jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60):
            done.append(job.id)
            if failing and (job.kind in failing or job.labels.get("init") in failing):
                jobs.fail(engine, job.id, job.attempt, reason="bug", error="meant to")
            else:
                jobs.succeed(engine, job.id, job.attempt, result_of(job))
        return done

    return work


def result_of(job: ClaimedJob) -> dict[str, Any]:
    """A result in the shape that each kind has."""
    if job.kind == "ingest":
        found = IngestResult(
            digest="d",
            task="ordinal",
            images=100,
            classes=["0", "1"],
            splits={"train": 70, "val": 10, "test": 20},
            channels=3,
            resolutions={"64x64": 90, "8x8": 10},
            annotations=StoredObject(key="annotations", size_bytes=1, sha256="0" * 64),
            pack=[StoredObject(key="pack", size_bytes=1, sha256="0" * 64)],
            manifest=StoredObject(key="manifest", size_bytes=1, sha256="0" * 64),
        )
        return found.model_dump(mode="json")
    if job.kind == "train":
        names = [{"step": 0, "name": "init"}, {"step": 2, "name": "final"}]
        checkpoints = [{**name, "bytes": 1, "sha256": "0" * 64, "key": "c"} for name in names]
        metrics = {"val": {"auroc": 0.5}, "test": {"auroc": 0.75}}
        return {"metrics": metrics, "checkpoints": checkpoints, "manifest": {"m": 1}, "weight_report": {"key": "w"}}
    if job.kind == "report":
        return {"complete": all(need.state == "succeeded" for need in job.needs)}
    return {"value": 1}
