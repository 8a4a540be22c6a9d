"""What workers tidy up now and then: the store, one of them for all, and each its own cache."""

import logging

from sqlalchemy import Engine

from transfusion_core.db import chores
from transfusion_core.janitor import Janitor
from transfusion_core.settings import Settings
from transfusion_core.store import open_store
from transfusion_worker.room import Room

SECONDS = 30.0
"""Between two looks; a deletion that was interrupted goes on after this."""
_SWEEP = "sweep"

_log = logging.getLogger(__name__)


class Tidying:
    """The tidying of one worker; `tidy` is called every so often, by one thread."""

    def __init__(self, engine: Engine, settings: Settings, room: Room) -> None:
        self._engine, self._settings, self._room = engine, settings, room
        self._janitor: Janitor | None = None

    def tidy(self) -> None:
        """Bring the cache to its size, go on with deletions, and sweep the store where it is this worker's turn."""
        if freed := self._room.tidy():
            _log.info("the cache gave up %d bytes", freed)
        self._janitor = self._janitor or Janitor(self._engine, open_store(self._settings), self._settings)
        self._janitor.go_on()
        if chores.take(self._engine, _SWEEP, every_seconds=self._settings.sweep_seconds):
            done = self._janitor.sweep()
            told = "swept the store: %d objects of %d bytes, %d uploads and %d unfinished writes are gone"
            _log.info(told, len(done.objects), done.size_bytes, len(done.uploads), len(done.unfinished))
