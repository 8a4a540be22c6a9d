"""What one caller, and all of them together, may ask of this process. Who asks for more is told when to return."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from transfusion_core.errors import TooManyRequests
from transfusion_core.settings import Settings

_MANY_CALLERS = 10_000
_WAITING_PER_PLACE = 10
"""How many may wait for each place in work: more would wait for longer than clients do."""


@dataclass
class _Bucket:
    tokens: float
    at: float


class RateLimit:
    """A token bucket per caller: `per_second` on the long run, twice that at once after a pause."""

    def __init__(self, per_second: float, now: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._now = per_second, max(1.0, 2 * per_second), now
        self._buckets: dict[str, _Bucket] = {}
        self._lock = threading.Lock()

    def take(self, caller: str) -> None:
        """Count one request. TooManyRequests says when there is room for the next."""
        with self._lock:
            now = self._now()
            if len(self._buckets) >= _MANY_CALLERS:
                self._forget_idle(now)
            bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= 1
                return
            wait_seconds = (1 - bucket.tokens) / self._per_second
        raise _come_back(f"more than {self._per_second:g} requests a second by one caller", wait_seconds)

    def _forget_idle(self, now: float) -> None:
        full_after = self._burst / self._per_second
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket.at < full_after}


class Places:
    """So many at once, and some more who wait; used by one event loop."""

    def __init__(self, places: int, *, waiting: int = 0, what: str) -> None:
        self._free, self._may_wait, self._what = asyncio.Semaphore(places), waiting, what
        self._waiting = 0

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a place, once one is free; TooManyRequests where too many wait already."""
        if self._free.locked() and self._waiting >= self._may_wait:
            raise _come_back(f"this service is busy with {self._what}", 2.0)
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()


@dataclass(frozen=True)
class Limits:
    """All limits of one process."""

    rate: RateLimit
    requests: Places
    streams: Places
    drawings: Places


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings ask for."""
    places = settings.max_drawings
    return Limits(
        rate=RateLimit(settings.requests_per_second),
        requests=Places(settings.max_requests, what="other requests"),
        streams=Places(settings.max_streams, what="other event streams"),
        drawings=Places(places, waiting=_WAITING_PER_PLACE * places, what="other plans, charts and reports"),
    )


def _come_back(why: str, seconds: float) -> TooManyRequests:
    error = TooManyRequests(f"{why}; try again in a moment")
    error.retry_after_seconds = seconds
    return error
