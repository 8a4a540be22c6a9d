"""A store that is away for five minutes, in the middle of some work and before the rest: jobs wait for it or are given
back, none fails, and what they leave is that of an undisturbed twin.

The short form is the long one on a smaller scale: the store is away for two and a half times as long as it is asked
again within one attempt, and attempts are further apart than the first pause by the same factor.
"""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from platforms import SOAK, until
from stored_world import BODY, World, stored_world
from transfusion_core.db import events

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

STORE_SECONDS = 120.0 if SOAK else 1.0
AWAY_SECONDS = 2.5 * STORE_SECONDS
RETRY_SECONDS = 1.0 if SOAK else 0.05
LATER: dict[str, Any] = {
    **BODY,
    "sections": ["performance", "movement"] if SOAK else ["performance"],
    "similarity": {"measures": ["cka"], "images": 20},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    words = {"STORE_SECONDS": str(STORE_SECONDS), "RETRY_SECONDS": str(RETRY_SECONDS)}
    with stored_world(tmp_path_factory.mktemp("outage"), **words) as made:
        yield made


def _moves(world: World, experiment: str) -> list[dict[str, Any]]:
    ours = {row.id for row in world.rows(experiment)}
    return [event.data for event in events.after(world.engine) if event.kind == "state" and event.job_id in ours]


def test_a_store_that_is_away_for_five_minutes_costs_time_and_nothing_else(world: World) -> None:
    world.faults.delay_seconds = 0.05  # so that there is time to catch it in the middle
    begun, later = world.begin(), world.begin(LATER)
    until(lambda: world.bundles(begun), "a bundle")
    world.faults.heal()
    world.faults.away = True
    gone = time.monotonic()
    while time.monotonic() - gone < AWAY_SECONDS:
        rows = world.rows(begun) + world.rows(later)
        assert not [(row.kind, row.error) for row in rows if row.state == "failed"]
        time.sleep(AWAY_SECONDS / 50)
    world.faults.heal()
    healed = time.monotonic()
    assert world.left(begun) == world.twin
    whole = world.left(later)
    seconds = time.monotonic() - healed
    moves = [move for each in (begun, later) for move in _moves(world, each)]
    given_back = sum((move["from"], move["to"]) == ("running", "queued") for move in moves)
    assert given_back > 0
    assert "failed" not in {move["to"] for move in moves}
    print(f"\naway for {AWAY_SECONDS:.0f} s: {given_back} times given back, all done {seconds:.0f} s later")
    undisturbed = world.begin(LATER)
    assert whole == world.left(undisturbed)
    for each in (begun, later, undisturbed):
        world.check(each)
