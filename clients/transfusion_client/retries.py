"""When a request is sent again, and how long to wait before: exponential backoff with full jitter."""

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

RETRIED_STATUSES = frozenset({408, 429, 502, 503, 504})
"""Answers that say "not now"; a 500 is a bug of the service, which asking again does not mend."""


@dataclass
class Clock:
    """Time and chance, replaceable in tests."""

    chance: random.Random = field(default_factory=random.Random)

    def monotonic(self) -> float:
        """Seconds from some fixed point."""
        return time.monotonic()

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True, kw_only=True)
class Backoff:
    """Pauses before the second try, the third, and so on."""

    tries: int = 5
    base_seconds: float = 0.2
    cap_seconds: float = 5.0

    def pause_seconds(self, tried: int, clock: Clock) -> float:
        """Anything up to twice as long as the time before: clients that failed together do not return together."""
        return clock.chance.uniform(0, min(self.cap_seconds, self.base_seconds * 2 ** min(tried, 30)))


def retry_after_seconds(response: httpx2.Response, clock: Clock) -> float | None:
    """What the answer's Retry-After asks for, written as seconds or as a date; None without a readable one."""
    written = response.headers.get("retry-after", "").strip()
    if written.isdecimal():
        return float(written)
    try:
        moment = parsedate_to_datetime(written)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - clock.now()).total_seconds())
