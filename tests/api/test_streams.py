"""Streams hold nothing of the database between looks, and end with what they follow, or with their reader's key."""

import asyncio
from datetime import UTC, datetime

import pytest

from transfusion_api import streams
from transfusion_core.db.events import Event


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "LOOK_SECONDS", "CHECK_SECONDS"):
        monkeypatch.setattr(streams, name, 0.0)


@pytest.mark.usefixtures("quick")
def test_a_stream_ends_with_the_right_to_read_it() -> None:
    answers = iter([True, True, False])
    looks = iter(range(1000))

    async def follow() -> list[str | None]:
        found = streams.follow(
            lambda _: [],
            lambda: {"state": "running", "progress": next(looks)},
            may_read=lambda: next(answers),
            last_id=0,
        )
        return [event.event async for event in found]

    assert asyncio.run(follow()) == ["progress"] * 3


@pytest.mark.usefixtures("quick")
def test_no_event_comes_after_the_end() -> None:
    waiting = [[_event(1)], [], [_event(2)], []]
    states = iter(["running", "succeeded"])

    async def follow() -> list[str | None]:
        found = streams.follow(
            lambda _: waiting.pop(0), lambda: {"state": next(states)}, may_read=lambda: True, last_id=0
        )
        return [event.event async for event in found]

    assert asyncio.run(follow()) == ["state", "progress", "state", "progress", "end"]


def _event(number: int) -> Event:
    now = datetime.now(UTC)
    return Event(id=number, at=now, experiment_id=None, job_id="j", kind="state", data={})
