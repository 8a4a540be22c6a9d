"""Tiny experiments that are posted while things die, and what must be true of them once all have ended."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

import invariants
from platforms import SOAK, TINY
from tormentor import LEASE_SECONDS, Service, patiently
from transfusion_client import Client
from transfusion_core.db.engine import connect
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

DISTINCT = 5 if SOAK else 2
"""So many different trainings: all others are their twins."""
UNDER_WAY = 8
"""Experiments posted and not ended."""
TIMEOUT_SECONDS = 900 if SOAK else 240


def trial(number: int, **changes: Any) -> dict[str, Any]:
    """A tiny experiment of one run; those of one number are twins."""
    training = {"steps": 6, "eval_every": 3, "batch_size": 16, "checkpoints": 1, "lr": 1e-3 * (1 + number % DISTINCT)}
    alone = {"inits": ["random"], "sources": {}, "seeds": 1, "sections": ["performance"]}
    return {**TINY, **alone, "name": f"trial {number}", "training": training, **changes}


def all_end(client: Client, ids: list[str], *, most: int = 0) -> list[str]:
    """Wait until no more than so many of these experiments have not ended; those."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    left = list(ids)
    while len(left) > most:
        assert time.monotonic() < deadline, f"{len(left)} of {len(ids)} experiments did not end"
        left = [each for each in left if not patiently(lambda each=each: client.experiments.get(each)).ended]
        time.sleep(0.2)
    return left


def trials(client: Client, go_on: Callable[[int], bool], seed: int) -> list[str]:
    """Post experiments, none of which shares a run with another, a few at a time.

    `go_on` is told how many there are, and says whether there are to be more.
    """
    made: list[str] = []
    under_way: list[str] = []
    while go_on(number := len(made)):
        spec = trial(number, name=f"trial {seed}-{number}", cache="off")
        key = f"{seed}-{number}"
        made.append(patiently(lambda spec=spec, key=key: client.experiments.create(spec, idempotency_key=key)).id)
        under_way = all_end(client, [*under_way, made[-1]], most=UNDER_WAY)
    all_end(client, under_way)
    return made


def succeeded_once(client: Client, ids: list[str]) -> None:
    """Each has ended well, and has its one run."""
    for each in ids:
        experiment = client.experiments.get(each)
        errors = [(run.id, run.reason, run.attempt) for run in experiment.runs() if run.state != "succeeded"]
        assert experiment.state == "succeeded", f"{experiment.counts}: {errors}"
        assert len(list(experiment.runs())) == 1


def check_service(running: Service, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """All that holds after every fault, of a service with so many trials."""
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    engine = connect(running.postgres.url())
    store = open_store(Settings())
    janitor = invariants.janitor_without_grace(engine, store)
    invariants.check(engine, store, lease_seconds=LEASE_SECONDS, workers=running.workers(), janitor=janitor)
    as_their_twins(engine, count)
    engine.dispose()


def as_their_twins(engine: Engine, count: int) -> None:
    """`final_weights` sees to it that trainings of one key are one; here they are counted."""
    assert len(invariants.final_weights(engine)) == min(DISTINCT, count)
