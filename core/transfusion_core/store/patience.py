"""How a store that does not answer is asked again: exponential backoff with full jitter, up to a deadline."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from transfusion_core.errors import Unavailable

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 10.0
SLOW_SECONDS = 30.0
SLOWEST_BYTES_PER_SECOND = 20_000
"""What any transfer may take, and how fast the rest must be: what is slower is a store that does not answer."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """For how long one operation is tried; 0 is once."""

    seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[float, float], float] = random.uniform

    def retry(self, act: Callable[[], T]) -> T:
        """Do it until it answers. Unavailable at the deadline, any other error at once."""
        return self.begin().retry(act)

    def begin(self, *, size_bytes: int = 0) -> "Tries":
        """The tries of one operation that moves so many bytes; the clock runs from now."""
        return Tries(self, max(self.seconds, SLOW_SECONDS) + size_bytes / SLOWEST_BYTES_PER_SECOND)


class Tries:
    """Of one operation: how many there were since it last got on, and until when there may be more."""

    def __init__(self, patience: Patience, whole_seconds: float) -> None:
        self._patience, self._whole_seconds = patience, whole_seconds
        self._begun = self._got_on_at = patience.clock()
        self._failed = 0
        self._given_up: Unavailable | None = None

    def retry(self, act: Callable[[], T]) -> T:
        """Do it until it answers, within what is left of the time."""
        while True:
            try:
                return act()
            except Unavailable as error:
                self.again(error)

    def again(self, error: Unavailable) -> None:
        """Wait for the next try, or raise where there is none: what failed last, and how often."""
        if error is self._given_up:
            raise error
        # The whole pause is drawn, from zero up: clients that failed together do not come back together.
        pause = self._patience.draw(0, min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(self._failed, 60)))
        self._failed += 1
        elapsed = self._patience.clock() - self._got_on_at
        if elapsed + pause > self._patience.seconds:
            self._given_up = Unavailable(f"{error.detail}; tried {self._failed} times in {elapsed:.0f} s")
            raise self._given_up from error
        self._patience.sleep(pause)

    def got_on(self) -> None:
        """A part of the operation is done: patience begins anew for the next."""
        self._got_on_at, self._failed = self._patience.clock(), 0

    def check(self) -> None:
        """Unavailable where the whole takes too long: it gets on, but too slowly."""
        elapsed = self._patience.clock() - self._begun
        if elapsed > self._whole_seconds:
            self._given_up = Unavailable(f"the store is too slow: not done after {elapsed:.0f} s")
            raise self._given_up
