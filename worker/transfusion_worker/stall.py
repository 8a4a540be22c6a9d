"""Whether a child still gets on, from what it says: one that says nothing for too long hangs."""

import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

LEAST_SECONDS = {"train": 600.0}
OTHERS_SECONDS = 6 * 3600.0
"""Other kinds have long silent stretches: a dataset on its way in, decompositions of wide layers."""
STEPS = 20
"""Slow steps need patience: silence of so many median steps is no hang either."""
_SAMPLES = 101

Clock = Callable[[], float]


class StallWatch:
    """Hears every message of one child."""

    def __init__(self, kind: str, *, clock: Clock = time.monotonic) -> None:
        self._least_seconds, self._clock = LEAST_SECONDS.get(kind, OTHERS_SECONDS), clock
        self._heard_at = clock()
        self._told: tuple[str, int, float] | None = None
        self._step_seconds: deque[float] = deque(maxlen=_SAMPLES)

    def heard(self, message: dict[str, Any]) -> None:
        """The child said something; its progress says how long its steps take."""
        self._heard_at = now = self._clock()
        if "progress" not in message:
            return
        phase, step = message["progress"]["phase"], message["progress"]["step"]
        if self._told and self._told[0] == phase and step > self._told[1]:
            self._step_seconds.append((now - self._told[2]) / (step - self._told[1]))
        self._told = phase, step, now

    @property
    def limit_seconds(self) -> float:
        """The longest silence that is no hang."""
        median = statistics.median(self._step_seconds) if self._step_seconds else 0.0
        return max(self._least_seconds, STEPS * median)

    def is_stalled(self) -> bool:
        """Whether the silence is longer than that."""
        return self._clock() - self._heard_at > self.limit_seconds
