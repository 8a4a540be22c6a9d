"""How long a supervisor may act for a job, by this machine's clock: the database's lease, from the safe side."""

import time
from collections.abc import Callable

SAFE_SHARE = 0.8
"""Of the lease: by then a supervisor that could not beat has killed its child."""

Clock = Callable[[], float]


class Lease:
    """Counted from before each call that extends it, so it ends here before it ends in the database."""

    def __init__(self, seconds: float, *, since: float, clock: Clock = time.monotonic) -> None:
        self._seconds, self._clock, self._since = seconds, clock, since

    def extended(self, *, since: float) -> None:
        """The database took a beat that was sent at `since`."""
        self._since = since

    def is_over(self) -> bool:
        """Whether another worker may soon own the job."""
        return self._clock() - self._since > SAFE_SHARE * self._seconds
