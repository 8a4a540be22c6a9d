"""Quotas: what a key may use, what counts as used, and what happens beyond it."""

import pytest
from sqlalchemy import Engine, update

from transfusion_core.db import api_keys, jobs, quotas
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.placing import place
from transfusion_core.db.records import ClaimedJob
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job
from transfusion_core.errors import QuotaExceeded
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.quota import Quota

OBJECT = {"key": "made", "size_bytes": 700, "sha256": "0" * 64}


@pytest.fixture
def keyed(engine: Engine):
    """Makes the scope of a new key with a quota."""

    def make(**quota: float) -> Scope:
        key, _ = api_keys.create(Scope(engine), b"s", name="k", role="write", quota=Quota.model_validate(quota))
        return Scope(engine, key.project, key.id)

    return make


def _post(scope: Scope, *names: str) -> None:
    with unit_of_work(scope.engine) as session:
        place(session, scope, [JobDraft.make("train", {"name": name}, labels={"name": name}) for name in names])


def _claim(engine: Engine) -> ClaimedJob | None:
    return jobs.claim(engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)


def _end(scope: Scope, *, seconds: float = 0.0) -> None:
    """Do the next job, as if it had begun so long ago."""
    job = _claim(scope.engine)
    assert job is not None
    with unit_of_work(scope.engine) as session:
        session.execute(update(Job).where(Job.id == job.id).values(started_at=clock(-seconds)))
    jobs.succeed(scope.engine, job.id, job.attempt, {"object": OBJECT, "again": OBJECT})


def test_a_key_has_no_more_jobs_at_work_than_it_may_and_others_go_on(engine: Engine, keyed) -> None:
    small, other = keyed(running_jobs=2), keyed()
    _post(small, *"abcd")
    _post(other, *"xyz")
    claimed = [job for job in (_claim(engine) for _ in range(8)) if job]
    assert sorted(job.labels["name"] for job in claimed) == ["a", "b", "x", "y", "z"]
    done = next(job for job in claimed if job.labels["name"] == "a")
    jobs.succeed(engine, done.id, done.attempt, {})
    following = _claim(engine)
    assert following is not None
    assert following.labels["name"] == "c"
    assert _claim(engine) is None


def test_what_was_used_is_reckoned_from_ended_attempts_and_their_objects(engine: Engine, keyed) -> None:
    scope = keyed(gpu_hours=10)
    _post(scope, "a", "b")
    _end(scope, seconds=1800)
    assert _claim(engine) is not None
    standing = quotas.standing(scope)
    assert standing is not None
    used = standing[1]
    assert (used.running_jobs, used.stored_bytes) == (1, 700)
    assert used.gpu_hours == pytest.approx(0.5, abs=0.01)


def test_an_attempt_that_was_given_back_counts_too(engine: Engine, keyed) -> None:
    scope = keyed(gpu_hours=10)
    _post(scope, "a")
    job = _claim(engine)
    assert job is not None
    with unit_of_work(engine) as session:
        session.execute(update(Job).values(started_at=clock(-3600)))
    jobs.release(engine, job.id, job.attempt)
    _end(scope, seconds=3600)
    with unit_of_work(engine, write=False) as session:
        assert quotas.usage(session, scope.actor).gpu_hours == pytest.approx(2, abs=0.01)


def test_an_hour_on_several_gpus_is_as_many(engine: Engine, keyed) -> None:
    scope = keyed(gpu_hours=10)
    drafts = [
        JobDraft.make("train", {"training": {"gpus": 4}}),
        JobDraft.make("compare", {}),
        JobDraft.make("ingest", {}),
    ]
    with unit_of_work(engine) as session:
        place(session, scope, drafts)
    for _ in drafts:
        _end(scope, seconds=3600)
    with unit_of_work(engine, write=False) as session:
        assert quotas.usage(session, scope.actor).gpu_hours == pytest.approx(5, abs=0.01), "and none of the processor's"
    _post(scope, "a")


@pytest.mark.parametrize(
    ("quota", "told"),
    [
        ({"gpu_hours": 0.4}, "0.5[0-9]* of 0.4 GPU-hours of the last 30 days are used"),
        ({"stored_bytes": 700}, "700 of 700 bytes in the store are used"),
    ],
)
def test_beyond_a_quota_nothing_new_is_taken_and_what_exists_is(
    engine: Engine, keyed, quota: dict[str, float], told: str
) -> None:
    scope = keyed(**quota)
    _post(scope, "a")
    _end(scope, seconds=1810)
    with pytest.raises(QuotaExceeded, match=told):
        _post(scope, "b")
    _post(scope, "a")
    assert _claim(engine) is None


def test_who_has_no_quota_is_not_held_up(engine: Engine, keyed) -> None:
    scope = keyed()
    assert quotas.standing(scope) is None
    assert quotas.standing(Scope(engine)) is None
    _post(scope, *"abc")
    assert len([job for job in (_claim(engine) for _ in range(3)) if job]) == 3
