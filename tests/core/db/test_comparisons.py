import pytest
from sqlalchemy import Engine

from transfusion_core.db import comparisons, experiments
from transfusion_core.db.facts import run_facts
from transfusion_core.db.scope import Scope
from transfusion_core.errors import NotFound
from transfusion_core.specs.comparing import comparison_draft
from transfusion_core.specs.comparison import ComparisonSpec


@pytest.fixture
def runs(engine: Engine, world, drain) -> list[str]:
    created = experiments.create(Scope(engine), world.expansion(), name="e")
    drain()
    return [job.id for job, labels in experiments.jobs_of(Scope(engine), created.id) if labels.get("role") == "cell"]


def ask(engine: Engine, a: str, b: str, **more):
    spec = ComparisonSpec(a=a, b=b, measures=["cka"])
    facts = [run_facts(Scope(engine), name.partition("@")[0]) for name in (a, b)]
    return comparisons.create(Scope(engine), comparison_draft(spec, *facts, facts[0].dataset), a, b, **more)


def test_a_comparison_is_asked_for_once(engine, runs, drain):
    a, b = f"{runs[0]}@final", f"{runs[1]}@final"
    created = ask(engine, a, b)
    assert (created.queues, created.is_new) == (["gpu"], True)
    assert (ask(engine, a, b).id, ask(engine, a, b).is_new) == (created.id, False)
    found = comparisons.get(Scope(engine), created.id)
    assert (found.state, found.a, found.b, found.result) == ("queued", a, b, None)
    drain("compare")
    assert comparisons.get(Scope(engine), created.id).reason == "bug"
    assert ask(engine, a, b).queues == ["gpu"]
    drain()
    assert comparisons.get(Scope(engine), created.id).result == {"value": 1}


def test_those_of_experiments_are_listed_with_names_of_their_runs(engine, runs):
    listed = comparisons.page(Scope(engine), limit=10, state="succeeded")
    assert {(item.a, item.b) for item in listed.items} == {(f"{run}@init", f"{run}@final") for run in runs}
    first = comparisons.page(Scope(engine), limit=1)
    assert first.next is not None
    assert comparisons.get(Scope(engine), first.items[0].id) == first.items[0]


def test_a_repeated_request_answers_the_same(engine, runs):
    request = ("key", "/v1/comparisons", "digest")
    first = ask(engine, f"{runs[0]}@init", f"{runs[1]}@init", idempotency=request)
    again = ask(engine, f"{runs[0]}@init", f"{runs[1]}@init", idempotency=request)
    assert (again.id, again.is_new, again.queues) == (first.id, False, [])


def test_what_is_no_comparison_is_not_found(engine, runs):
    for job_id in ("nothing", runs[0]):
        with pytest.raises(NotFound, match="no comparison"):
            comparisons.get(Scope(engine), job_id)
