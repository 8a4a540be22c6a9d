"""An experiment's life over HTTP, in any order: states follow the table of moves; a refused move changes nothing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from platforms import SOAK
from transfusion_core.db import events, jobs
from transfusion_core.db.moves import MOVES

TIMES = 100 if SOAK else 5
"""That a cancel meets a finish, in each state."""
LIVES = 100 if SOAK else 5
"""Chains of requests, of 14 steps at most."""
FINAL = ("succeeded", "failed", "cancelled")
ALLOWED = {"cancel": ("queued", "running"), "resume": ("cancelled",), "retry": ("failed",), "delete": FINAL}


def machine_of(client: TestClient, made: Any) -> type[RuleBasedStateMachine]:
    """Experiments of one spec and of another, made, stopped, gone on with and deleted, while a worker works."""

    class Life(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.experiments: dict[str, str] = {}
            self.claimed: Any = None
            self.engine = client.app.state.service.engine

        def teardown(self) -> None:
            """Leave nothing to the next life."""
            if self.claimed:
                jobs.release(self.engine, self.claimed.id, self.claimed.attempt)
            for name in self.experiments:
                for run in client.get(f"/v1/experiments/{name}/runs").json()["items"]:
                    _is_legal(client, run["id"])
                client.post(f"/v1/experiments/{name}/cancel")
                assert client.delete(f"/v1/experiments/{name}").status_code == 200

        @precondition(lambda self: len(self.experiments) < 3)
        @rule(seeds=st.integers(1, 2), cache=st.sampled_from(["use", "refresh", "off"]))
        def create(self, seeds: int, cache: str) -> None:
            answer = client.post("/v1/experiments", json={**made.spec, "seeds": seeds, "cache": cache})
            assert answer.status_code == 201, answer.text
            self.experiments[answer.json()["id"]] = answer.json()["state"]

        @precondition(lambda self: self.experiments)
        @rule(deed=st.sampled_from(sorted(ALLOWED)), which=st.integers(0, 2))
        def act(self, deed: str, which: int) -> None:
            name = sorted(self.experiments)[which % len(self.experiments)]
            before = client.get(f"/v1/experiments/{name}").json()
            path = f"/v1/experiments/{name}"
            answer = client.delete(path) if deed == "delete" else client.post(f"{path}/{deed}")
            if answer.status_code == 409:
                assert client.get(path).json()["state"] == before["state"]
                stopping = before["state"] == "running" and deed == "cancel"
                assert before["state"] not in ALLOWED[deed] or stopping, (deed, before["state"], answer.text)
                return
            assert answer.status_code in (200, 204), answer.text
            assert before["state"] in ALLOWED[deed]
            if deed == "delete":
                del self.experiments[name]
                assert client.get(path).status_code == 404

        @precondition(lambda self: self.claimed is None)
        @rule()
        def claim(self) -> None:
            self.claimed = jobs.claim(self.engine, worker="w:1:1", queues=["cpu", "gpu"], lease_seconds=60)

        @precondition(lambda self: self.claimed is not None)
        @rule(end=st.sampled_from(["succeed", "fail", "release", "cancelled"]))
        def end(self, end: str) -> None:
            job, self.claimed = self.claimed, None
            if end == "succeed":
                jobs.succeed(
                    self.engine, job.id, job.attempt, made.results[job.kind](client.app.state.service.store, job)
                )
            elif end == "fail":
                jobs.fail(self.engine, job.id, job.attempt, reason="data", error="meant to")
            elif end == "cancelled" and jobs.get(self.engine, job.id).cancel_requested:
                jobs.cancelled(self.engine, job.id, job.attempt)
            else:
                jobs.release(self.engine, job.id, job.attempt)

        @invariant()
        def is_consistent(self) -> None:
            for name in self.experiments:
                now = client.get(f"/v1/experiments/{name}").json()
                assert 0 <= now["progress"] <= 1
                assert (now["finished_at"] is not None) == (now["state"] in FINAL)

    return Life


def _is_legal(client: TestClient, run_id: str) -> None:
    """The run's events form a path through the table of moves, to the state that the run is in."""
    moves = [
        event.data for event in events.after(client.app.state.service.engine, job_id=run_id) if event.kind == "state"
    ]
    state, attempt = None, 0
    for move in moves:
        assert move["from"] == state, moves
        assert state is None or (state, move["to"]) in MOVES, moves
        assert move["attempt"] >= attempt
        state, attempt = move["to"], move["attempt"]
    assert client.get(f"/v1/runs/{run_id}").json()["state"] == state


@pytest.mark.timeout(3600 if SOAK else 600)
def test_experiments_live_by_the_table_of_moves(client: TestClient, made: Any) -> None:
    bounded = hypothesis_settings(
        max_examples=LIVES, stateful_step_count=14, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(machine_of(client, made), settings=bounded)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("state", ["waiting", "queued", "running"])
def test_a_cancel_that_meets_a_finish_leaves_one_of_both(
    client: TestClient, made: Any, spec: dict[str, Any], state: str
) -> None:
    for _ in range(TIMES):
        experiment_id = client.post("/v1/experiments", json={**spec, "cache": "off"}).json()["id"]
        engine = client.app.state.service.engine
        job = None
        if state == "queued":
            _until_the_runs_are_queued(client, made)
        if state == "running":
            job = jobs.claim(engine, worker="w:1:1", queues=["cpu", "gpu"], lease_seconds=60)
        with ThreadPoolExecutor(2) as pool:
            finish = pool.submit(made.work, client) if job is None else pool.submit(_finish, client, made, job)
            cancel = pool.submit(client.post, f"/v1/experiments/{experiment_id}/cancel")
            finish.result()
            assert cancel.result().status_code in (200, 409)
        made.work(client)
        now = client.get(f"/v1/experiments/{experiment_id}").json()
        assert now["state"] in FINAL
        assert (now["state"] == "cancelled") == (cancel.result().status_code == 200)


def _until_the_runs_are_queued(client: TestClient, made: Any) -> None:
    """Do what they need, and give the first of them back."""
    engine = client.app.state.service.engine
    while job := jobs.claim(engine, worker="w:1:1", queues=["cpu", "gpu"], lease_seconds=60):
        if job.kind == "train":
            jobs.release(engine, job.id, job.attempt)
            return
        _finish(client, made, job)
    raise AssertionError("no run was queued")


def _finish(client: TestClient, made: Any, job: Any) -> None:
    service = client.app.state.service
    jobs.succeed(service.engine, job.id, job.attempt, made.results[job.kind](service.store, job))
