"""Streams hold nothing of the database between looks, and end with what they follow, or with their reader's key."""

import asyncio
import dataclasses
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from transfusion_api import streams
from transfusion_api.border import Border
from transfusion_api.problems import is_vanished_reader
from transfusion_core.db.events import Event
from transfusion_core.settings import Settings


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


def test_a_reader_that_hangs_up_is_no_bug_and_a_bug_is_one() -> None:
    gone = anyio.BrokenResourceError()
    assert is_vanished_reader(ExceptionGroup("", [gone]))
    assert not is_vanished_reader(ExceptionGroup("", [gone, ValueError()]))
    assert is_vanished_reader(gone)
    assert not is_vanished_reader(ValueError())


def test_a_reader_that_takes_nothing_is_let_go(client: TestClient) -> None:
    async def stuck(_: Any) -> None:
        await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    service = dataclasses.replace(client.app.state.service, settings=Settings(mode="service", body_seconds=0.01))
    border = Border(PlainTextResponse("x" * 10), service)
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "client": ("::1", 1)}

    async def ask() -> None:
        async with asyncio.timeout(5):
            await border(scope, receive, stuck)

    asyncio.run(ask())


def _event(number: int) -> Event:
    now = datetime.now(UTC)
    return Event(id=number, at=now, experiment_id=None, job_id="j", kind="state", data={})
