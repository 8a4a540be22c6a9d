"""Events as they happen: a stream of what the database has written, replayed from any id, ended with its subject."""

import time
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, TypeVar

import anyio
from anyio.to_thread import run_sync
from fastapi import Header
from fastapi.sse import ServerSentEvent

from transfusion_core.db.clock import rfc3339
from transfusion_core.db.events import Event
from transfusion_core.errors import Unavailable

POLL_SECONDS = 0.5
LOOK_SECONDS = 2.0
"""How often progress is looked at while no event comes: it costs more than to look for events."""
CHECK_SECONDS = 15.0
"""How long a stream may outlive its key."""
PATIENCE_SECONDS = 60.0
"""A stream outlives a database that is away for so long; then it breaks off, and its reader resumes by the last id."""
BATCH = 200
ENDED = frozenset({"succeeded", "failed", "cancelled"})
LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63, description="Resume after this event")]
Result = TypeVar("Result")


async def follow(
    read: Callable[[int], list[Event]],
    look: Callable[[], dict[str, Any]],
    *,
    may_read: Callable[[], bool],
    last_id: int,
) -> AsyncIterator[ServerSentEvent]:
    """Events after `last_id`, a `progress` whenever what `look` says has changed, and `end` when its state is final.

    `read` gives the events after an id, `BATCH` at most; `may_read` whether the reader still may. All ask the database,
    in a thread, and hold nothing of it in between. A stream ends without `end` where its reader may not read any more.
    """
    shown: dict[str, Any] | None = None
    checked_at = time.monotonic()
    look_at = checked_at
    while True:
        is_due = time.monotonic() >= look_at
        # Looked at before events are read: none of them comes after `end`.
        now = await _patiently(look) if is_due else shown
        came = False
        while events := await _patiently(read, last_id):
            came = True
            for event in events:
                last_id = event.id
                yield ServerSentEvent(id=str(event.id), event=event.kind, data=_data(event))
        if is_due and now is not None:
            if now != shown:
                yield ServerSentEvent(event="progress", data=now)
            if now["state"] in ENDED:
                yield ServerSentEvent(event="end", data={"state": now["state"]})
                return
            shown = now
        look_at = time.monotonic() + (0 if came else LOOK_SECONDS) if is_due or came else look_at
        if time.monotonic() - checked_at > CHECK_SECONDS:
            if not await _patiently(may_read):
                return
            checked_at = time.monotonic()
        if not came:
            await anyio.sleep(POLL_SECONDS)


async def _patiently(ask: Callable[..., Result], *arguments: Any) -> Result:
    """The database's answer, in a thread, however often it has to be asked again."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        while True:
            try:
                return await run_sync(ask, *arguments)
            except Unavailable:
                await anyio.sleep(POLL_SECONDS)
    return await run_sync(ask, *arguments)


def _data(event: Event) -> dict[str, Any]:
    return {"at": rfc3339(event.at), "job": event.job_id, **event.data}
