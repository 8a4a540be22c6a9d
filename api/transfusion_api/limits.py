"""What one caller, and all of them together, may ask of this process. Who asks for more is told when to return."""

import asyncio
import hashlib
import threading
import time
from collections import Counter, OrderedDict
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
        self._ask(caller, cost=1.0)

    def check(self, caller: str) -> None:
        """As `take`, and nothing is counted."""
        self._ask(caller, cost=0.0)

    def _ask(self, caller: str, *, cost: float) -> None:
        with self._lock:
            now = self._now()
            if len(self._buckets) >= _MANY_CALLERS:
                self._forget_idle(now)
            bucket = self._buckets.setdefault(caller, _Bucket(self._burst, now))
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.at) * self._per_second)
            bucket.at = now
            if bucket.tokens >= 1:
                bucket.tokens -= cost
                return
            wait_seconds = (1 - bucket.tokens) / self._per_second
        raise _come_back(f"more than {self._per_second:g} requests a second by one caller", wait_seconds)

    def _forget_idle(self, now: float) -> None:
        full_after = self._burst / self._per_second
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if now - bucket.at < full_after}


class Known:
    """Keys and sessions that were good when they were last seen: the newest ten thousand, by their digests."""

    def __init__(self) -> None:
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def has(self, presented: str) -> bool:
        """Whether this was good when it was last seen."""
        return _digest(presented) in self._seen

    def add(self, presented: str) -> None:
        """This is good."""
        digest = _digest(presented)
        with self._lock:
            self._seen[digest] = None
            self._seen.move_to_end(digest)
            if len(self._seen) > _MANY_CALLERS:
                self._seen.popitem(last=False)

    def forget(self, presented: str) -> None:
        """This is good no more, or never was."""
        with self._lock:
            self._seen.pop(_digest(presented), None)


def _digest(presented: str) -> bytes:
    return hashlib.sha256(presented.encode("utf-8", "replace")).digest()


class Places:
    """So many at once, and some more who wait; used by one event loop.

    Who names an address gets four fifths of them at most: whoever holds all that one address may have leaves some.
    """

    def __init__(self, places: int, *, waiting: int = 0, what: str) -> None:
        self._free, self._may_wait, self._what = asyncio.Semaphore(places), waiting, what
        self._of_one, self._held = places - places // 5, Counter[str]()
        self._waiting = 0

    @asynccontextmanager
    async def taken_by(self, address: str) -> AsyncIterator[None]:
        """As `taken`; TooManyRequests also where this address holds as many as one may."""
        if self._held[address] >= self._of_one:
            raise _come_back(f"this service is busy with {self._what} from your address", 2.0)
        self._held[address] += 1
        try:
            async with self.taken():
                yield
        finally:
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]

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
    known: Known
    requests: Places
    streams: Places
    drawings: Places


def limits_of(settings: Settings) -> Limits:
    """The limits that the settings ask for."""
    places = settings.max_drawings
    return Limits(
        rate=RateLimit(settings.requests_per_second),
        known=Known(),
        requests=Places(settings.max_requests, what="other requests"),
        streams=Places(settings.max_streams, what="other event streams"),
        drawings=Places(places, waiting=_WAITING_PER_PLACE * places, what="other plans, charts and reports"),
    )


def _come_back(why: str, seconds: float) -> TooManyRequests:
    error = TooManyRequests(f"{why}; try again in a moment")
    error.retry_after_seconds = seconds
    return error
