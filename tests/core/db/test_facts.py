from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from transfusion_core.db import datasets, experiments, weights
from transfusion_core.db.facts import dataset_facts, facts_for, run_facts
from transfusion_core.db.scope import Scope
from transfusion_core.errors import NotFound
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.facts import ingest_draft

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
BODIES = JSON | st.fixed_dictionaries(
    {},
    optional={
        "dataset": JSON | st.sampled_from(["demo-retina", "demo-retina@2", "a@999999999"]),
        "sources": JSON | st.dictionaries(st.text(max_size=3), st.fixed_dictionaries({"run": JSON, "pretrain": JSON})),
        "inits": JSON,
        "models": JSON,
        "similarity": JSON,
        "image_size": JSON,
    },
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_any_body_at_all_has_facts(engine: Engine, body: Any):
    found = facts_for(Scope(engine), body)
    assert found.dataset_names == () or "demo-chest@1" in found.dataset_names


def test_a_demo_dataset_needs_no_registration(engine):
    facts = facts_for(Scope(engine), {"dataset": "demo-retina"}).datasets["demo-retina"]
    assert (facts.name, facts.registered, facts.splits) == (
        "demo-retina@1",
        False,
        {"train": 1300, "val": 300, "test": 400},
    )
    assert facts_for(Scope(engine), {"dataset": "demo-retina@2"}).datasets == {}


def test_what_an_ingest_found_is_known_afterwards(engine, drain):
    spec = DatasetSpec(name="mine", kind="folder", location="file:///a")
    datasets.register(Scope(engine), spec, ingest_draft(spec))
    assert dataset_facts(Scope(engine), "mine").classes is None
    drain()
    facts = dataset_facts(Scope(engine), "mine")
    assert (facts.classes, facts.splits) == (2, {"train": 70, "val": 10, "test": 20})


def test_a_name_stands_for_its_newest_version(engine):
    for folder in ("a", "b"):
        spec = DatasetSpec(name="mine", kind="folder", location=f"file:///{folder}")
        datasets.register(Scope(engine), spec, ingest_draft(spec))
    facts = facts_for(Scope(engine), {"dataset": "mine", "sources": {"s": {"pretrain": {"dataset": "mine@1"}}}})
    assert {name: found.name for name, found in facts.datasets.items()} == {"mine": "mine@2", "mine@1": "mine@1"}
    assert facts.datasets["mine"].registered
    assert facts.datasets["mine"].splits is None
    assert facts.dataset_names == ()
    assert {"mine@1", "mine@2"} < set(facts_for(Scope(engine), {"dataset": "mien"}).dataset_names)
    assert dataset_facts(Scope(engine), "mine").name == "mine@2"
    with pytest.raises(NotFound):
        dataset_facts(Scope(engine), "mine@3")


def test_keys_are_the_same_before_and_after_ingestion(engine, world, drain):
    before = [draft.key for draft in world.expansion().drafts]
    experiments.create(Scope(engine), world.expansion(), name="e")
    drain()
    assert [draft.key for draft in world.expansion().drafts] == before


def test_weights_and_runs_are_looked_up(engine, world, drain):
    weights.register(Scope(engine), "w", StoredObject(key="k", size_bytes=1, sha256="1" * 64))
    created = experiments.create(Scope(engine), world.expansion(), name="e")
    run = next(job for job, _ in experiments.jobs_of(Scope(engine), created.id) if job.kind == "train")
    body = {
        "sources": {
            "a": {"weights": "w"},
            "b": {"weights": "no"},
            "c": {"run": f"{run.id}@final"},
            "d": {"run": "no@final"},
        }
    }
    facts = facts_for(Scope(engine), body)
    assert (facts.weights, facts.weight_names) == ({"w": "1" * 64}, ("w",))
    assert set(facts.runs) == {run.id}
    assert (facts.runs[run.id].key, facts.runs[run.id].steps) == (run.key, None)
    drain()
    assert run_facts(Scope(engine), run.id).steps == {"init", "final"}
    assert run_facts(Scope(engine), run.id).image_size == 40
    with pytest.raises(NotFound, match="no run 'nothing'"):
        run_facts(Scope(engine), "nothing")
