"""Whatever workers do, in whatever order: jobs move legally, attempts rise, nobody is forgotten."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select, update

from platforms import SOAK
from transfusion_core.db import events, jobs
from transfusion_core.db.clock import clock
from transfusion_core.db.engine import connect, migrate, unit_of_work
from transfusion_core.db.moves import ENDED, MOVES
from transfusion_core.db.placing import place
from transfusion_core.db.records import ClaimedJob
from transfusion_core.db.scope import Scope
from transfusion_core.db.tables import Job, Need
from transfusion_core.db.transitions import revive
from transfusion_core.errors import Fenced
from transfusion_core.specs.job import JobDraft


def _diamond() -> list[JobDraft]:
    """a, b need nothing; c needs a; d needs b and c; the report needs the end of all."""
    a, b = JobDraft.make("train", {"n": "a"}), JobDraft.make("train", {"n": "b"})
    c = JobDraft.make("train", {"n": "c"}, needs=(a.key,))
    d = JobDraft.make("compare", {"n": "d"}, needs=(b.key, c.key))
    keys = (a.key, b.key, c.key, d.key)
    return [a, b, c, d, JobDraft.make("report", {"n": "r"}, needs=keys, needs_success=False)]


CHAINS = 650 if SOAK else 8
"""Of 16 steps at most, so that `make soak` takes ten thousand and more."""


class Workers(RuleBasedStateMachine):
    steps = 0
    """Of all chains."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.engine = connect(f"sqlite:///{Path(self.folder.name)}/jobs.db")
        migrate(self.engine)
        with unit_of_work(self.engine) as session:
            place(session, Scope(self.engine), _diamond())
        self.held: list[ClaimedJob] = []

    def teardown(self) -> None:
        self.engine.dispose()
        self.folder.cleanup()

    @rule()
    def claim(self) -> None:
        job = jobs.claim(self.engine, worker="w", queues=["gpu", "cpu"], lease_seconds=60)
        if job:
            self.held.append(job)

    @precondition(lambda self: self.held)
    @rule(place=st.integers(0, 20), act=st.sampled_from(["succeed", "fail", "crash", "release", "beat", "cancelled"]))
    def act(self, place: int, act: str) -> None:
        job = self.held[place % len(self.held)]
        before = jobs.get(self.engine, job.id)
        mine = before.state == "running" and before.attempt == job.attempt
        more = {
            "succeed": {"result": {}},
            "fail": {"reason": "bug", "error": "e"},
            "crash": {"max_crashes": 2, "error": "e"},
            "beat": {"lease_seconds": 60},
        }
        try:
            getattr(jobs, act)(self.engine, job.id, job.attempt, **more.get(act, {}))
            assert mine
        except Fenced:
            assert not mine
            assert jobs.get(self.engine, job.id) == before

    @rule()
    def leases_end(self) -> None:
        with unit_of_work(self.engine) as session:
            session.execute(update(Job).values(lease_until=clock(-1.0), not_before=None))
        jobs.sweep(self.engine, max_outages=3)

    @rule(place=st.integers(0, 4))
    def retry(self, place: int) -> None:
        with unit_of_work(self.engine) as session:
            ids = session.scalars(select(Job.id).order_by(Job.id)).all()
            revive(session, [ids[place]])

    @invariant()
    def is_counted(self) -> None:
        Workers.steps += 1

    @invariant()
    def events_form_a_legal_path_and_attempts_rise(self) -> None:
        last: dict[str, tuple[str | None, int]] = {}
        for event in events.after(self.engine):
            before, attempt = last.get(event.job_id, (None, 0))
            assert event.data["from"] == before
            assert before is None or (before, event.data["to"]) in MOVES
            assert event.data["attempt"] - attempt == (event.data["to"] == "running")
            last[event.job_id] = (event.data["to"], event.data["attempt"])
        with unit_of_work(self.engine, write=False) as session:
            assert {job.id: (job.state, job.attempt) for job in session.scalars(select(Job))} == last

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        with unit_of_work(self.engine, write=False) as session:
            states = dict(map(tuple, session.execute(select(Job.id, Job.state))))
            strict = dict(map(tuple, session.execute(select(Job.id, Job.needs_success))))
            needs: dict[str, list[str]] = {job_id: [] for job_id in states}
            for job_id, need in session.execute(select(Need.job_id, Need.need_id)):
                needs[job_id].append(states[need])
        for job_id in (job_id for job_id, state in states.items() if state == "waiting"):
            if strict[job_id]:
                assert not {"failed", "cancelled"} & set(needs[job_id])
            assert any(state not in ENDED for state in needs[job_id])


@pytest.mark.timeout(3600 if SOAK else 600)
def test_whatever_workers_do_jobs_move_legally_attempts_rise_and_nobody_is_forgotten() -> None:
    Workers.steps = 0
    run_state_machine_as_test(Workers, settings=settings(max_examples=CHAINS, stateful_step_count=16, deadline=None))
    print(f"{Workers.steps} steps in {CHAINS} chains")
    assert not SOAK or Workers.steps >= 10_000
