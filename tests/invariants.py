"""What holds after every fault, whatever died or went away: the seven promises of `docs/trust.md`, from rows and store.

Each function raises an AssertionError that names the job. `check` asks them all.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine, select

from platforms import job_children
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import unit_of_work
from transfusion_core.db.moves import ENDED, MOVES
from transfusion_core.db.pointers import is_spent
from transfusion_core.db.tables import Dataset, Event, Job, Need, Upload, Weights
from transfusion_core.janitor import Janitor
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import Store
from worker_bench import until

LONGEST_PAUSE_SECONDS = 60.0
"""Before a job is tried again."""


def check(
    engine: Engine,
    store: Store,
    *,
    lease_seconds: float,
    workers: Iterable[int] = (),
    janitor: Callable[[], object] | None = None,
) -> None:
    """All of them. `workers` are the process ids of those that live; objects without a row are looked for if there is
    somebody to remove them.
    """
    jobs = _jobs(engine)
    every_job_ends_or_can_be_claimed(engine, jobs, lease_seconds=lease_seconds)
    a_result_is_there_once(engine, jobs)
    events_form_a_legal_path_and_attempts_rise(engine, jobs)
    what_is_pointed_at_is_there_and_whole(engine, store, jobs)
    no_child_lives_without_a_lease(engine, list(workers))
    if janitor is not None:
        janitor()
        assert unpointed(engine, store) == set()


def _jobs(engine: Engine) -> dict[str, Job]:
    with unit_of_work(engine, write=False) as session:
        return {job.id: job for job in session.scalars(select(Job))}


def every_job_ends_or_can_be_claimed(engine: Engine, jobs: dict[str, Job], *, lease_seconds: float) -> None:
    """(1) It has ended, or will be claimable within two leases, or needs a job of which that is true."""
    with unit_of_work(engine, write=False) as session:
        now = session.scalar(select(clock()))
        needs = [(need.job_id, need.need_id) for need in session.scalars(select(Need))]
    assert now is not None
    waiting_for = Counter(job for job, need in needs if jobs[need].state not in ENDED)
    spoilt = {job for job, need in needs if jobs[need].state in ("failed", "cancelled")}
    soon = now + timedelta(seconds=max(2 * lease_seconds, LONGEST_PAUSE_SECONDS))
    for job in jobs.values():
        told = f"{job.kind} {job.id} is {job.state}"
        if job.state == "running":
            assert job.lease_until is None or job.lease_until <= soon, f"{told} until {job.lease_until}"
        if job.state == "queued":
            assert job.not_before is None or job.not_before <= soon, f"{told} and held back until {job.not_before}"
        if job.state == "waiting":
            assert waiting_for[job.id], f"{told} for nothing"
            assert not (job.needs_success and job.id in spoilt), f"{told} for what has failed"


def a_result_is_there_once(engine: Engine, jobs: dict[str, Job]) -> None:
    """(2) Succeeded is who has a result, and it was applied once."""
    applied = Counter(event.job_id for event in _moves(engine) if event.data["to"] == "succeeded")
    for job in jobs.values():
        assert (job.state == "succeeded") == (job.result is not None), f"{job.kind} {job.id} is {job.state}"
        assert applied[job.id] == (job.state == "succeeded"), f"{job.id} succeeded {applied[job.id]} times"


def events_form_a_legal_path_and_attempts_rise(engine: Engine, jobs: dict[str, Job]) -> None:
    """(3) From nothing to the state in the row, and each claim is a new attempt."""
    last: dict[str, tuple[str | None, int]] = {}
    for event in _moves(engine):
        assert event.job_id is not None
        state, attempt = last.get(event.job_id, (None, 0))
        before, after = event.data["from"], event.data["to"]
        assert before == state, f"{event.job_id}: after {state} comes {event.data}"
        assert before is None or (before, after) in MOVES, f"{event.job_id}: {event.data}"
        assert event.data["attempt"] - attempt == (after == "running"), (
            f"{event.job_id}: attempt {attempt}, {event.data}"
        )
        last[event.job_id] = (after, event.data["attempt"])
    for job_id, stood in last.items():
        assert stood == (jobs[job_id].state, jobs[job_id].attempt), f"{job_id}: the events say {stood}"


def _moves(engine: Engine) -> list[Event]:
    with unit_of_work(engine, write=False) as session:
        return list(session.scalars(select(Event).where(Event.kind == "state").order_by(Event.id)))


def what_is_pointed_at_is_there_and_whole(engine: Engine, store: Store, jobs: dict[str, Job]) -> None:
    """(4) Every object that a row names is in the store with the digest that the row names."""
    for pointer in _pointers(engine, jobs):
        store.get_bytes(pointer)  # raises ObjectMissing or ObjectCorrupt


def _pointers(engine: Engine, jobs: dict[str, Job]) -> list[StoredObject]:
    with unit_of_work(engine, write=False) as session:
        spent = set(session.scalars(select(Job.id).where(is_spent())))
        others = [
            *session.scalars(select(Dataset.result)),
            *session.scalars(select(Weights.object)),
            *session.scalars(select(Upload.object)),
        ]
    speaking = [job for job in jobs.values() if job.id not in spent]
    named = [found for job in speaking for found in (job.result, job.handover)] + others
    pointers = {pointer.key: pointer for document in named for pointer in objects_in(document)}
    return list(pointers.values())


def objects_in(document: Any) -> Iterator[StoredObject]:
    """What a result names: any object of ours says its key, its size and its digest."""
    if isinstance(document, dict):
        size = document.get("size_bytes", document.get("bytes"))
        if size is not None and document.get("key") and document.get("sha256"):
            yield StoredObject(key=document["key"], size_bytes=size, sha256=document["sha256"])
        for each in document.values():
            yield from objects_in(each)
    elif isinstance(document, list):
        for each in document:
            yield from objects_in(each)


def no_child_lives_without_a_lease(engine: Engine, workers: list[int]) -> None:
    """(5) Workers have as many children as jobs under a lease, at most; one that is being killed may take a moment."""

    def holds() -> bool:
        with unit_of_work(engine, write=False) as session:
            leased = select(Job.id).where(Job.state == "running", Job.lease_until > clock())
            at_work = len(session.scalars(leased).all())
        return sum(len(job_children(worker)) for worker in workers) <= at_work

    until(holds, seconds=10)


def unpointed(engine: Engine, store: Store) -> set[str]:
    """(6) Objects of jobs that no row names."""
    named = {pointer.key for pointer in _pointers(engine, _jobs(engine))}
    return {each.key for each in store.list("jobs/")} - named


def janitor_without_grace(engine: Engine, store: Store) -> Callable[[], object]:
    """Takes what no row speaks for at once; for a platform on which nobody works any more."""
    return Janitor(engine, store, Settings().model_copy(update={"keep_unpointed_seconds": 0})).sweep


def final_weights(engine: Engine) -> dict[str, dict[str, str]]:
    """(7) Of each succeeded training, by the spec that it has in common with its twins: digests of its checkpoints,
    and its final metrics.
    """
    found: dict[str, dict[str, str]] = {}
    for job in _jobs(engine).values():
        if job.kind == "train" and job.result is not None:
            digests = {checkpoint["name"]: checkpoint["sha256"] for checkpoint in job.result["checkpoints"]}
            digests["metrics"] = json.dumps(job.result["metrics"], sort_keys=True)
            assert found.setdefault(job.key, digests) == digests, f"two trainings of the key {job.key} differ"
    return found
