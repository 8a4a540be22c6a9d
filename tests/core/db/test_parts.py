"""Parts of a comparison as rows: placed with it and only with it, failing it, revived, redone and deleted with it."""

from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from transfusion_core.db import experiments, jobs, pointers, recovery
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job, Need


def ask(engine: Engine, world: Any, parts: int, **changes: Any) -> str:
    expansion = world.expansion(similarity={"parts": parts, "measures": ["cka"]}, inits=["random"], **changes)
    return experiments.create(Scope(engine), expansion, name="e").id


def rows(engine: Engine, kind: str) -> list[Job]:
    with Session(engine, expire_on_commit=False) as session:
        return list(session.scalars(select(Job).where(Job.kind == kind).order_by(Job.id)))


def states(engine: Engine, kind: str) -> list[str]:
    return [row.state for row in rows(engine, kind)]


def needs(engine: Engine, job_id: str) -> set[str]:
    with Session(engine) as session:
        query = select(Job.kind).join(Need, Need.need_id == Job.id).where(Need.job_id == job_id)
        return set(session.scalars(query))


def kinds_of(engine: Engine, experiment_id: str) -> list[str]:
    return [job.kind for job, _ in experiments.jobs_of(Scope(engine), experiment_id)]


def test_a_comparison_waits_for_its_parts(engine, world, drain):
    made = ask(engine, world, 3)
    assert kinds_of(engine, made).count("moments") == 3
    drain()
    assert states(engine, "moments") == ["succeeded"] * 3
    assert states(engine, "compare") == ["succeeded"]
    assert experiments.get(Scope(engine), made).state == "succeeded"


@pytest.mark.parametrize("is_done", [True, False])
@pytest.mark.parametrize(("first", "second"), [(1, 4), (4, 1), (3, 4)])
def test_the_same_comparison_in_other_parts_is_the_one_that_is_there(engine, world, drain, first, second, is_done):
    ask(engine, world, first)
    if is_done:
        drain()
    again = ask(engine, world, second)
    assert len(rows(engine, "compare")) == 1
    assert len(rows(engine, "moments")) == (first if first > 1 else 0)
    assert kinds_of(engine, again).count("moments") == 0
    drain()
    assert experiments.get(Scope(engine), again).state == "succeeded"


def test_the_same_parts_are_shared_while_they_are_done(engine, world, drain):
    first, second = ask(engine, world, 3), ask(engine, world, 3)
    assert len(rows(engine, "moments")) == 3
    assert kinds_of(engine, second).count("moments") == 3
    experiments.cancel(Scope(engine), first)
    drain()
    assert experiments.get(Scope(engine), second).state == "succeeded"


def test_a_part_that_fails_fails_its_comparison_alone_and_both_are_tried_again(engine, world, drain):
    made = ask(engine, world, 3, seeds=2, sections=["performance", "reuse"])
    while (job := jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)) and job.kind != "moments":
        jobs.succeed(engine, job.id, job.attempt, {} if job.kind != "ingest" else INGESTED)
    assert job is not None
    jobs.fail(engine, job.id, job.attempt, reason="data", error="meant to")
    drain()
    assert sorted((row.state, row.reason) for row in rows(engine, "compare")) == [
        ("failed", "needs_failed"),
        ("succeeded", None),
    ]
    assert experiments.get(Scope(engine), made).state == "failed"
    assert sorted(states(engine, "moments")) == ["failed", *["succeeded"] * 5]
    experiments.retry(Scope(engine), made)
    drain()
    assert states(engine, "compare") == ["succeeded"] * 2
    assert max(row.attempt for row in rows(engine, "moments")) == 2, "what had been summed was not summed again"
    assert sum(row.attempt for row in rows(engine, "moments")) == 7


INGESTED = {
    "digest": "d", "task": "ordinal", "images": 9, "classes": [], "splits": {}, "channels": 3,
    "annotations": {"key": "a", "size_bytes": 1, "sha256": "0" * 64}, "pack": [],
    "manifest": {"key": "m", "size_bytes": 1, "sha256": "0" * 64},
}  # fmt: skip


@pytest.mark.parametrize("parts", [1, 3, 4])
def test_a_comparison_that_failed_is_revived_in_the_parts_that_it_has(engine, world, drain, parts):
    ask(engine, world, 3)
    drain("moments")
    assert states(engine, "compare") == ["failed"]
    again = ask(engine, world, parts)
    drain()
    assert states(engine, "compare") == ["succeeded"]
    assert states(engine, "moments") == ["succeeded"] * 3
    assert experiments.get(Scope(engine), again).state == "succeeded"


def test_a_comparison_that_is_done_again_has_its_parts_done_again(engine, world, drain):
    ask(engine, world, 3)
    drain()
    refreshed = ask(engine, world, 3, cache="refresh")
    drain()
    assert [len(rows(engine, kind)) for kind in ("compare", "moments")] == [2, 6]
    (lost,) = [row.key for row in rows(engine, "compare") if row.shared]
    expansion = world.expansion(similarity={"parts": 2, "measures": ["cka"]}, inits=["random"])
    experiments.create(Scope(engine), expansion, name="e", verified_missing=frozenset({lost}))
    drain()
    assert [len(rows(engine, kind)) for kind in ("compare", "moments")] == [3, 8]
    assert set(states(engine, "compare") + states(engine, "moments")) == {"succeeded"}
    assert experiments.get(Scope(engine), refreshed).state == "succeeded"


def test_a_cancel_ends_parts_that_nobody_else_wants_and_a_resume_goes_on(engine, world, drain):
    made = ask(engine, world, 3)
    experiments.cancel(Scope(engine), made)
    assert set(states(engine, "moments") + states(engine, "compare")) == {"cancelled"}
    experiments.resume(Scope(engine), made)
    drain()
    assert set(states(engine, "moments") + states(engine, "compare")) == {"succeeded"}


def test_a_worker_that_is_lost_between_parts_loses_its_part_alone(engine, world, drain):
    made = ask(engine, world, 3)
    done = 0
    while done < 1:
        job = jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
        assert job is not None
        jobs.succeed(engine, job.id, job.attempt, INGESTED if job.kind == "ingest" else {})
        done += job.kind == "moments"
    lost = jobs.claim(engine, worker="lost", queues=["gpu"], lease_seconds=0)
    assert lost is not None
    assert lost.kind == "moments"
    assert recovery.sweep(engine, max_outages=9) == ["gpu"]
    drain()
    assert [row.attempt for row in rows(engine, "moments")] == [
        2 if row.id == lost.id else 1 for row in rows(engine, "moments")
    ]
    assert experiments.get(Scope(engine), made).state == "succeeded"


def test_parts_are_deleted_with_the_last_experiment_that_has_their_comparison(engine, world, drain):
    first = ask(engine, world, 3)
    second = ask(engine, world, 1)
    drain()
    experiments.remove(Scope(engine), first)
    assert len(rows(engine, "moments")) == 3, "its comparison is the second's too"
    removal = experiments.remove(Scope(engine), second)
    assert rows(engine, "moments") == rows(engine, "compare") == []
    assert removal


def test_the_sums_of_a_part_are_spoken_for_until_its_comparison_has_succeeded(engine, world, drain):
    ask(engine, world, 2)
    drain("compare")
    keys = [f"jobs/{row.id}/1/sums" for row in rows(engine, "moments")]
    with Session(engine) as session, session.begin():
        for row, key in zip(
            session.scalars(select(Job).where(Job.kind == "moments").order_by(Job.id)), keys, strict=True
        ):
            row.result = {"trained": {"key": key, "size_bytes": 1, "sha256": "0" * 64}}
    assert pointers.unpointed(engine, keys) == [], "a comparison that failed may be tried again"
    with Session(engine) as session:
        assert {key for key, _ in pointers.pointed(session)}.issuperset(keys)
    ask(engine, world, 2)
    drain()
    assert pointers.unpointed(engine, keys) == keys
    with Session(engine) as session:
        assert {key for key, _ in pointers.pointed(session)}.isdisjoint(keys)
