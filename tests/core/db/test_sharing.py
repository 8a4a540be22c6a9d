"""Fair shares: who comes with little is not held back by who has much, whatever came first."""

from typing import Any

import pytest
from sqlalchemy import Engine

from transfusion_core.db import experiments, jobs, sharing
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.placing import place
from transfusion_core.db.scope import Scope
from transfusion_core.specs.job import JobDraft


def _drafts(name: str, count: int, *needs: JobDraft, **more: Any) -> list[JobDraft]:
    keys = tuple(need.key for need in needs)
    return [
        JobDraft.make("train", {"name": f"{name} {n}"}, needs=keys, labels={"of": name}, **more) for n in range(count)
    ]


def _post(engine: Engine, drafts: list[JobDraft], *, project: str = "default", **more: Any) -> None:
    with unit_of_work(engine) as session:
        place(session, Scope(engine, project, project), drafts, **more)


def _claimed(engine: Engine, count: int, *, done: bool = True) -> list[str]:
    """Of whom the next jobs are."""
    found = []
    for _ in range(count):
        job = jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
        assert job is not None
        found.append(job.labels["of"])
        if done:
            jobs.succeed(engine, job.id, job.attempt, {})
    return found


def test_five_thousand_jobs_do_not_hold_back_five(engine: Engine) -> None:
    _post(engine, _drafts("much", 5000), project="a")
    _claimed(engine, 20)
    _post(engine, _drafts("little", 5), project="b")
    assert _claimed(engine, 12).count("little") == 5


def test_a_share_is_one_of_work_and_not_of_jobs(engine: Engine) -> None:
    _post(engine, _drafts("long", 50, seconds=100.0))
    _post(engine, _drafts("short", 200, seconds=10.0))
    found = _claimed(engine, 110)
    assert found.count("short") == pytest.approx(100, abs=2)


def test_priority_goes_before_shares(engine: Engine) -> None:
    _post(engine, _drafts("waiting", 20))
    _claimed(engine, 5)
    _post(engine, _drafts("urgent", 20), priority=1)
    assert set(_claimed(engine, 20)) == {"urgent"}


def test_a_job_that_another_asks_for_as_well_comes_when_theirs_would(engine: Engine) -> None:
    first = _drafts("first", 100)
    _post(engine, first)
    _post(engine, [*_drafts("second", 1), first[90]])
    _claimed(engine, 4)
    assert list(jobs.results(engine, [first[90].key])) == [first[90].key]


def test_who_waited_for_a_need_has_saved_up_nothing(engine: Engine) -> None:
    source = _drafts("source", 1)
    _post(engine, [*source, *_drafts("cells", 100, *source)])
    held = jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
    assert held is not None
    _post(engine, _drafts("others", 200))
    _claimed(engine, 100)
    jobs.succeed(engine, held.id, held.attempt, {})
    assert _claimed(engine, 20).count("others") == pytest.approx(10, abs=1)


def test_each_further_experiment_of_a_project_has_a_smaller_share(engine: Engine, world) -> None:
    scopes = {name: Scope(engine, name, name) for name in ("many", "one")}
    for number in range(8):
        _create(scopes["many"], world, f"many {number}", number)
    _create(scopes["one"], world, "one", 100)
    with unit_of_work(engine) as session:
        for name, apart in (("many", 9), ("one", 2), ("nobody", 1)):
            found = session.execute(sharing.outlook(), {"project": name, "actor": name}).one()
            assert found.apart == apart


def _create(scope: Scope, world, name: str, seed: int) -> None:
    expansion = world.expansion(name=name, training={"steps": 2 + seed}, sources={}, inits=["random"])
    experiments.create(scope, expansion, name=name)
