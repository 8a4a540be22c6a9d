"""Events as they happen: a stream of what the database has written, replayed from any id, ended with its subject.

The streams of a process share what they ask: one look for all of them at whether anything was written, and one answer
for all that follow the same experiment or run and stand at the same event.
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
from anyio.to_thread import run_sync
from fastapi import Header
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy import Engine

from transfusion_core.db import events
from transfusion_core.db.clock import rfc3339
from transfusion_core.errors import Unavailable

POLL_SECONDS = 0.5
SHARED_SECONDS = 0.2
"""So old may be what the database was last asked for all streams."""
LOOK_SECONDS = 2.0
"""How often progress is looked at while no event comes: it costs more than to look for events."""
CHECK_SECONDS = 15.0
"""How long a stream may outlive its key."""
PING_SECONDS = 15.0
"""So long a stream is silent at most."""
PATIENCE_SECONDS = 60.0
"""A stream outlives a database that is away for so long; then it breaks off, and its reader resumes by the last id."""
BATCH = 200
KEPT = 32
"""Batches of a subject, for readers that stand at different events."""
ENDED = frozenset({"succeeded", "failed", "cancelled"})
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_FIELDS = {name: {"type": "string"} for name in ("data", "event", "id")}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"itemSchema": {"type": "object", "properties": _FIELDS}}}}
}
"""What the documents say of such an answer."""
LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63, description="Resume after this event")]


class EventStream(StreamingResponse):
    """Server-sent events, many at a time: FastAPI's own response sends each by itself."""

    media_type = "text/event-stream"


@dataclass(frozen=True)
class Said:
    """Events in the words of the wire."""

    data: bytes
    last_id: int


class Subject:
    """An experiment or a run, for all streams that follow it."""

    def __init__(self, read: Callable[[int], list[events.Event]], look: Callable[[], dict[str, Any]]) -> None:
        self._read, self._look = read, look
        self.followers, self.version = 0, 0
        """The version rises whenever there may be other events than before."""
        self._is_touched, self._look_at = True, 0.0
        self._now: dict[str, Any] = {}
        self._said: dict[int, Said | None] = {}
        self._lock = anyio.Lock()

    def touch(self) -> None:
        """Something was written about it."""
        self._is_touched = True

    async def now(self) -> dict[str, Any]:
        """What `look` said, after whatever was heard of it and LOOK_SECONDS ago at most.

        Events that are read after this are later than it: none of them is missing where it says that all is over.
        """
        async with self._lock:
            if self._is_touched or time.monotonic() >= self._look_at:
                touched, self._is_touched = self._is_touched, False
                try:
                    self._now = await run_sync(self._look)
                except BaseException:
                    self._is_touched = touched
                    raise
                self._look_at = time.monotonic() + LOOK_SECONDS
                if touched or self._now["state"] in ENDED:
                    self._said.clear()
                    self.version += 1
            return self._now

    async def after(self, last_id: int) -> Said | None:
        """The next events after one, `BATCH` at most; None where there are none."""
        async with self._lock:
            if last_id not in self._said:
                found = await run_sync(self._read, last_id)
                while len(self._said) >= KEPT:
                    del self._said[next(iter(self._said))]
                self._said[last_id] = Said(b"".join(map(_event, found)), found[-1].id) if found else None
            return self._said[last_id]


class Streams:
    """What the streams of this process follow."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._subjects: dict[tuple[str, str], Subject] = {}
        """By project and id: one of the projects that share a run may lose it before the others do."""
        self._last_id: int | None = None
        self._asked_at = 0.0
        self._failure: Unavailable | None = None
        self._lock = anyio.Lock()

    @contextmanager
    def following(self, project: str, subject_id: str, make: Callable[[], Subject]) -> Iterator[Subject]:
        """The subject of this id, made where nobody of the project follows it yet, and dropped with its last follower.

        `make` may make it with the scope of whoever comes first.
        """
        key = (project, subject_id)
        subject = self._subjects.get(key) or self._subjects.setdefault(key, make())
        subject.followers += 1
        try:
            yield subject
        finally:
            subject.followers -= 1
            if not subject.followers:
                del self._subjects[key]

    async def refresh(self) -> None:
        """Touch the subjects about which something was written. Raises Unavailable, for all who ask meanwhile."""
        async with self._lock:
            if time.monotonic() - self._asked_at >= SHARED_SECONDS:
                self._failure = await self._ask()
                self._asked_at = time.monotonic()
            if self._failure is not None:
                raise self._failure

    async def _ask(self) -> Unavailable | None:
        try:
            news = await run_sync(events.news, self._engine, self._last_id)
        except Unavailable as error:
            return error
        self._last_id = news.last_id
        for (_, subject_id), subject in self._subjects.items():
            if news.about is None or subject_id in news.about:
                subject.touch()
        return None


def stream(
    streams: Streams,
    subject: tuple[str, str],
    make: Callable[[], Subject],
    *,
    may_read: Callable[[], bool],
    last_id: int,
) -> EventStream:
    """The answer that follows a subject, told by its project and id: see `follow`."""

    async def said() -> AsyncIterator[bytes]:
        with streams.following(*subject, make) as followed:
            async for piece in follow(streams, followed, may_read=may_read, last_id=last_id):
                yield piece

    return EventStream(said(), headers=HEADERS)


async def follow(
    streams: Streams, subject: Subject, *, may_read: Callable[[], bool], last_id: int
) -> AsyncIterator[bytes]:
    """Events after `last_id`, a `progress` whenever what is said of the subject has changed, and `end` when its state
    is final.

    `may_read` is whether the reader still may. All ask the database, in a thread, and hold nothing of it in between. A
    stream ends without `end` where its reader may not read any more.
    """
    shown: dict[str, Any] | None = None
    version = -1
    well_at = said_at = checked_at = time.monotonic()
    while True:
        try:
            await streams.refresh()
            now = await subject.now()
            if version != subject.version:
                reading = subject.version
                while said := await subject.after(last_id):
                    last_id, said_at = said.last_id, time.monotonic()
                    yield said.data
                version = reading
            if now != shown:
                shown, said_at = now, time.monotonic()
                yield _worded("progress", now)
            if now["state"] in ENDED:
                yield _worded("end", {"state": now["state"]})
                return
            if time.monotonic() - checked_at > CHECK_SECONDS:
                if not await run_sync(may_read):
                    return
                checked_at = time.monotonic()
            well_at = time.monotonic()
        except Unavailable:
            if time.monotonic() - well_at > PATIENCE_SECONDS:
                raise
        if time.monotonic() - said_at > PING_SECONDS:
            said_at = time.monotonic()
            yield KEEPALIVE_COMMENT
        await anyio.sleep(POLL_SECONDS)


def _event(event: events.Event) -> bytes:
    return _worded(event.kind, {"at": rfc3339(event.at), "job": event.job_id, **event.data}, str(event.id))


def _worded(kind: str, data: dict[str, Any], event_id: str | None = None) -> bytes:
    return format_sse_event(data_str=json.dumps(data, ensure_ascii=False), event=kind, id=event_id)
