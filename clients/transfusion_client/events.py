"""What happens to an experiment or a run, as it happens: a stream that goes on where it was cut."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx2

from transfusion_client.connection import Connection, is_passing
from transfusion_client.retries import Backoff
from transfusion_client.waiting import OUTAGE_SECONDS, is_outage
from transfusion_core.errors import TransfusionError, Unavailable

QUIET_SECONDS = 10.0
"""A stream that waits with a deadline is opened anew after so much silence; keep-alives come less often."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing that happened to an experiment or one of its jobs."""

    kind: str
    data: dict[str, Any]
    id: str | None
    """Where to resume: its own, or that of the last kept event before it. None before the first."""


def follow(
    connection: Connection,
    path: str,
    *,
    last_event_id: str | None = None,
    timeout_seconds: float | None = None,
    on_outage: Callable[[TransfusionError], None] | None = None,
) -> Iterator[Event]:
    """Every event after `last_event_id` once and in order, until `end`; `progress` only where it has changed.

    Cuts and restarts are outlived. Unavailable where the service has been away for 15 minutes, TimeoutError after
    `timeout_seconds`.
    """
    clock = connection.clock
    deadline = None if timeout_seconds is None else clock.monotonic() + timeout_seconds
    cuts, alive_at, progress = 0, clock.monotonic(), None
    while True:
        left = None if deadline is None else max(0.1, min(QUIET_SECONDS, deadline - clock.monotonic()))
        try:
            for event in _stream(connection, path, last_event_id, left):
                alive_at = clock.monotonic()
                if event is None:
                    continue
                cuts = 0
                last_event_id = event.id or last_event_id
                if event.kind == "progress" and event.data == progress:
                    continue  # told again by a stream that was opened again
                progress = event.data if event.kind == "progress" else progress
                yield event
                if event.kind == "end":
                    return
            error: TransfusionError = Unavailable(f"the events of {path} ended early")
        except (httpx2.RequestError, TransfusionError) as raised:
            error = _outage(raised, connection)
        if deadline is not None and clock.monotonic() >= deadline:
            raise TimeoutError(f"{path} has not ended within {timeout_seconds:g} seconds; it goes on") from error
        if clock.monotonic() - alive_at > OUTAGE_SECONDS:
            raise error
        if isinstance(error.__cause__, httpx2.ReadTimeout):
            continue  # that was pause enough
        cuts += 1
        if on_outage:
            on_outage(error)
        clock.sleep(Backoff().pause_seconds(cuts, clock))


def _stream(
    connection: Connection, path: str, last_event_id: str | None, silence_seconds: float | None
) -> Iterator[Event | None]:
    """None where the stream is open: a silent service is no lost one."""
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with connection.stream(path, headers, silence_seconds=silence_seconds) as source:
        yield None
        for sent in source:
            yield Event(kind=sent.event, data=json.loads(sent.data or "{}"), id=sent.id or None)


def _outage(raised: httpx2.RequestError | TransfusionError, connection: Connection) -> TransfusionError:
    """The error as an outage that may pass; raises those that will not."""
    if isinstance(raised, TransfusionError):
        if not is_outage(raised):
            raise raised
        return raised
    error = Unavailable(f"no answer from {connection.url}: {raised or type(raised).__name__}")
    error.__cause__ = raised
    if not is_passing(raised):
        raise error
    return error
