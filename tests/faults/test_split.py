"""Everything is killed between the parts of a comparison: what was summed stays, and each comparison ends once."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

import invariants
from platforms import TINY, embedded, until
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.db.tables import Job
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = pytest.mark.faults

SPLIT: dict[str, Any] = {
    **TINY,
    "inits": ["random"],
    "sources": {},
    "sections": ["performance", "similarity", "movement"],
    "similarity": {**TINY["similarity"], "parts": 4},
}


def _parts(engine: Engine) -> list[Job]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Job).where(Job.kind == "moments").order_by(Job.id)))


def test_a_platform_that_is_killed_between_the_parts_of_a_comparison_goes_on(tmp_path: Path) -> None:
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        made = client.experiments.create(SPLIT)
        engine = connect(f"sqlite:///{tmp_path}/transfusion.db")

        def some_done() -> bool:
            states = {part.state for part in _parts(engine)}
            return "succeeded" in states and "running" in states

        until(some_done, "a part that is done and one that is under way", 240)
        platform.kill()
    done = {part.id for part in _parts(engine) if part.state == "succeeded"}
    lost = {part.id for part in _parts(engine) if part.state == "running"}
    with embedded(tmp_path) as platform, Client(platform.url) as client:
        experiment = client.experiments.get(made.id).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        assert experiment.report().sections["similarity"].complete
        parts = {part.id: part for part in _parts(engine)}
        assert {parts[part].attempt for part in done} == {1}
        assert all(parts[part].attempt >= 2 for part in lost)
        store = open_store(Settings(store_url=f"file://{tmp_path}/store"))
        invariants.check(engine, store, lease_seconds=20, workers=[platform.process.pid])
    with_sums = {key for key in _keys(store) if "trained" in key}
    assert with_sums
    invariants.janitor_without_grace(engine, store)()
    assert not {key for key in _keys(store) if "trained" in key}, "comparisons that have succeeded need no sums"
    engine.dispose()


def _keys(store: Any) -> set[str]:
    return {listed.key for listed in store.list("jobs/")}
