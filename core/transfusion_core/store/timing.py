"""How long the calls of a store take."""

import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from transfusion_core.store.protocol import Store

Told: TypeAlias = Callable[[str, str, float], None]
"""Is told the call, its outcome (`ok`, or the kind of error) and its seconds."""


def timed(store: Store, told: Told) -> Store:
    """The same store, that tells of every call; of those that give an iterator, when it is there."""
    return cast("Store", _Timed(store, told))


class _Timed:
    def __init__(self, store: Store, told: Told) -> None:
        self._store, self._told = store, told

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return self._measured(name, found) if callable(found) else found

    def _measured(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*positional: Any, **named: Any) -> Any:
            began, outcome = time.perf_counter(), "ok"
            try:
                return call(*positional, **named)
            except Exception as error:
                outcome = type(error).__name__
                raise
            finally:
                self._told(name, outcome, time.perf_counter() - began)

        return measured
