"""Bundles that no row names any more, removed by the way: a store that hangs must keep no supervisor from its beats."""

import logging
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from transfusion_core.errors import StoreError, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.specs.job import Bundle
from transfusion_core.store import open_store

_log = logging.getLogger(__name__)


class Forgetting:
    """A thread that removes bundles, each in one try; what it cannot remove is left for the janitor."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.model_copy(update={"store_seconds": 0.0})
        self._bundles: SimpleQueue[Bundle | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def forget(self, bundles: Sequence[Bundle]) -> None:
        """Remove these soon."""
        for bundle in bundles:
            self._bundles.put(bundle)
        if bundles and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="forgetting", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """No more will come. What was asked for is still done, and nobody waits for it."""
        self._bundles.put(None)

    def _work(self) -> None:
        store = open_store(self._settings)
        while (bundle := self._bundles.get()) is not None:
            try:
                store.delete(bundle.object.key)
            except (StoreError, Unavailable) as error:
                _log.warning("bundle %s stays in the store: %s", bundle.object.key, error)
