"""Events as they happen: a stream of what the database has written, replayed from any id, ended with its subject."""

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
PATIENCE_SECONDS = 60.0
"""A stream outlives a database that is away for so long; then it breaks off, and its reader resumes by the last id."""
BATCH = 200
ENDED = frozenset({"succeeded", "failed", "cancelled"})
LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**63, description="Resume after this event")]
Result = TypeVar("Result")


async def follow(
    read: Callable[[int], list[Event]], look: Callable[[], dict[str, Any]], *, last_id: int
) -> AsyncIterator[ServerSentEvent]:
    """Events after `last_id`, a `progress` whenever what `look` says has changed, and `end` when its state is final.

    `read` gives the events after an id, `BATCH` at most. Both ask the database, in a thread.
    """
    shown: dict[str, Any] | None = None
    while True:
        now = await _patiently(look)
        while events := await _patiently(read, last_id):
            for event in events:
                last_id = event.id
                yield ServerSentEvent(id=str(event.id), event=event.kind, data=_data(event))
        if now != shown:
            yield ServerSentEvent(event="progress", data=now)
        if now["state"] in ENDED:
            yield ServerSentEvent(event="end", data={"state": now["state"]})
            return
        shown = now
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
