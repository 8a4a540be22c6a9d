"""Streams hold nothing of the database between looks, and end with what they follow, or with their reader's key."""

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
import pytest
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from transfusion_api import streams
from transfusion_api.border import Border
from transfusion_api.problems import is_vanished_reader
from transfusion_api.streams import Streams, Subject
from transfusion_core.db.events import Event
from transfusion_core.errors import NotFound, Unavailable
from transfusion_core.settings import Settings


class Nothing(Streams):
    """No news: what is asked of a subject is asked again because time has passed."""

    def __init__(self) -> None:
        pass

    async def refresh(self) -> None:
        pass


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "LOOK_SECONDS", "CHECK_SECONDS"):
        monkeypatch.setattr(streams, name, 0.0)


def heard(subject: Subject, *, may_read: Callable[[], bool] = lambda: True) -> list[str]:
    """The kinds of what a stream says until it ends."""

    async def follow() -> list[str]:
        found = streams.follow(Nothing(), subject, may_read=may_read, last_id=0)
        pieces = [piece.decode() async for piece in found]
        return [line.removeprefix("event: ") for line in "".join(pieces).splitlines() if line.startswith("event: ")]

    return asyncio.run(follow())


@pytest.mark.usefixtures("quick")
def test_a_stream_ends_with_the_right_to_read_it() -> None:
    answers, looks = iter([True, True, False]), iter(range(1000))
    subject = Subject(lambda _: [], lambda: {"state": "running", "progress": next(looks)})
    assert heard(subject, may_read=lambda: next(answers)) == ["progress"] * 3


@pytest.mark.usefixtures("quick")
def test_no_event_comes_after_the_end() -> None:
    """The second comes unheard of, between the last look and the one that says that all is over."""
    waiting, states = [[_event(1)], [], [_event(2)], []], iter(["running", "succeeded"])
    subject = Subject(lambda _: waiting.pop(0), lambda: {"state": next(states)})
    assert heard(subject) == ["state", "progress", "state", "progress", "end"]


def test_readers_of_one_subject_share_what_is_asked() -> None:
    reads, looks = [], []

    def read(last_id: int) -> list[Event]:
        reads.append(last_id)
        return [_event(1)] if last_id < 1 else []

    def look() -> dict[str, Any]:
        looks.append(1)
        return {"state": "succeeded"}

    async def follow(subject: Subject) -> bytes:
        found = streams.follow(Nothing(), subject, may_read=lambda: True, last_id=0)
        return b"".join([piece async for piece in found])

    async def follow_both() -> list[bytes]:
        subject = Subject(read, look)
        return await asyncio.gather(*[follow(subject) for _ in range(20)])

    assert len(set(asyncio.run(follow_both()))) == 1
    assert (reads, len(looks)) == ([0, 1], 1)


@pytest.mark.usefixtures("quick")
def test_a_look_that_failed_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Unavailable("away"), {"state": "succeeded"}])

    def look() -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Unavailable):
            raise answer
        return answer

    assert heard(Subject(lambda _: [], look)) == ["progress", "end"]
    monkeypatch.setattr(streams, "PATIENCE_SECONDS", -1.0)
    answers = iter([Unavailable("away for good")])
    with pytest.raises(Unavailable, match="for good"):
        heard(Subject(lambda _: [], look))


def test_a_silent_stream_says_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("POLL_SECONDS", "CHECK_SECONDS", "PING_SECONDS"):
        monkeypatch.setattr(streams, name, 0.0)
    subject, answers = Subject(lambda _: [], lambda: {"state": "running"}), iter([True, False])

    async def follow() -> list[bytes]:
        found = streams.follow(Nothing(), subject, may_read=lambda: next(answers), last_id=0)
        return [piece async for piece in found]

    assert asyncio.run(follow())[1:] == [b": ping\n\n"]


def test_a_subject_is_there_as_long_as_it_is_followed() -> None:
    made = Streams(Nothing)  # type: ignore[arg-type]
    make = partial(Subject, lambda _: [], dict)
    with made.following("p", "x", make) as first:
        with made.following("p", "x", make) as second:
            assert first is second
        with made.following("p", "x", make) as third:
            assert first is third
    with made.following("p", "x", make) as last:
        assert last is not first


def test_a_project_that_may_read_no_more_breaks_no_stream_of_another() -> None:
    def gone() -> dict[str, Any]:
        raise NotFound("this project has deleted its experiment")

    made = Streams(Nothing)  # type: ignore[arg-type]
    with (
        made.following("a", "run", partial(Subject, lambda _: [], gone)),
        made.following("b", "run", partial(Subject, lambda _: [], lambda: {"state": "running"})) as theirs,
    ):
        assert asyncio.run(theirs.now()) == {"state": "running"}


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
