"""Waiting for something of the service to end: polling that outlives cuts, restarts and busy answers."""

from collections.abc import Callable
from typing import TypeVar

from transfusion_client.retries import Backoff, Clock
from transfusion_core.errors import TooManyRequests, TransfusionError, Unavailable

Subject = TypeVar("Subject")
ENDED = frozenset({"succeeded", "failed", "cancelled"})
FIRST_POLL_SECONDS = 0.2
LAST_POLL_SECONDS = 3.0
POLL_GROWTH = 1.3
OUTAGE_SECONDS = 900.0
"""A service that has not answered for so long is not waited for any longer."""


def wait_until_ended(
    look: Callable[[], Subject],
    state_of: Callable[[Subject], str],
    *,
    clock: Clock,
    what: str,
    timeout_seconds: float | None = None,
    on_look: Callable[[Subject], None] | None = None,
    on_outage: Callable[[TransfusionError], None] | None = None,
) -> Subject:
    """Look until the state is final. TimeoutError after `timeout_seconds`; Unavailable after a long outage.

    Pauses grow from 0.2 to 3 seconds, with jitter. Errors that the service means (no such id, no key) are raised.
    """
    deadline = None if timeout_seconds is None else clock.monotonic() + timeout_seconds
    pause_seconds, cut_tries, cut_since = FIRST_POLL_SECONDS, 0, clock.monotonic()
    while True:
        try:
            subject = look()
        except TransfusionError as error:
            cut_tries += 1
            if not is_outage(error) or clock.monotonic() - cut_since > OUTAGE_SECONDS:
                raise
            if on_outage:
                on_outage(error)
            next_pause = Backoff(base_seconds=0.5, cap_seconds=10.0).pause_seconds(cut_tries, clock)
        else:
            cut_tries, cut_since = 0, clock.monotonic()
            if on_look:
                on_look(subject)
            if state_of(subject) in ENDED:
                return subject
            next_pause = pause_seconds * clock.chance.uniform(0.7, 1.3)
            pause_seconds = min(LAST_POLL_SECONDS, pause_seconds * POLL_GROWTH)
        if deadline is not None and clock.monotonic() + next_pause > deadline:
            raise TimeoutError(f"{what} has not ended within {timeout_seconds:g} seconds; it goes on")
        clock.sleep(next_pause)


def is_outage(error: TransfusionError) -> bool:
    """Whether the service may answer again by itself: no connection, busy, or a fault of its own (5xx)."""
    return isinstance(error, Unavailable | TooManyRequests) or error.status >= 500
