"""The janitor: takes out of the store what nothing in the database points at. Anybody may run it, also twice at once.

It never decides by what it listed, only by what the database says after that: what a running job, a job to be resumed
or a result names stays. What no row names is left alone for a grace, since its row may be on its way.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import Engine

from transfusion_core.db import pointers, removals
from transfusion_core.db.scope import Scope
from transfusion_core.settings import Settings
from transfusion_core.specs.removal import Removal
from transfusion_core.store import Listed, Store, Unfinished

BATCH = 500
"""Objects that are noted, and then deleted, at a time."""


@dataclass
class Findings:
    """What would go, or has gone."""

    objects: list[Listed] = field(default_factory=list)
    """Those that no row names."""
    uploads: list[str] = field(default_factory=list)
    """Ids of uploads that came to nothing."""
    unfinished: list[Unfinished] = field(default_factory=list)
    """Of writers that died."""
    removals: list[str] = field(default_factory=list)
    """Deletions that were interrupted."""

    @property
    def size_bytes(self) -> int:
        """Of the objects together."""
        return sum(listed.size_bytes for listed in self.objects)


@dataclass(frozen=True)
class Janitor:
    """Works on one database and one store."""

    engine: Engine
    store: Store
    settings: Settings
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def look(self) -> Findings:
        """What `sweep` would do now; nothing is changed."""
        found = Findings(unfinished=list(self._stale()))
        for batch in _batches(self._old()):
            gone = set(pointers.unpointed(self.engine, [listed.key for listed in batch]))
            found.objects += [listed for listed in batch if listed.key in gone]
        found.uploads = pointers.expired_uploads(self.engine, seconds=self.settings.keep_uploads_seconds)
        found.removals = [mark.id for mark in removals.unfinished(self.engine)]
        return found

    def sweep(self) -> Findings:
        """Abort what was never finished, and remove what nothing points at; what was done."""
        done = Findings()
        for unfinished in self._stale():
            self.store.abandon(unfinished)
            done.unfinished.append(unfinished)
        done.removals = self.go_on()
        for removal_id in pointers.expire_uploads(self.engine, seconds=self.settings.keep_uploads_seconds):
            done.uploads.append(self.finish(removal_id).name)
        for batch in _batches(self._old()):
            marked = pointers.mark_unpointed(self.engine, [(each.key, each.size_bytes) for each in batch])
            if marked is not None:
                self.finish(marked)
                gone = {each.key for each in removals.every_object(self.engine, marked)}
                done.objects += [listed for listed in batch if listed.key in gone]
        return done

    def go_on(self) -> list[str]:
        """Finish every deletion that was begun; which."""
        marks = [mark.id for mark in removals.unfinished(self.engine)]
        for removal_id in marks:
            self.finish(removal_id)
        return marks

    def finish(self, removal_id: str, *, seconds: float = float("inf")) -> Removal:
        """Take a removal's objects out of the store, for so long at most; the account as it stands then.

        What goes is noted before it goes. Interrupted anywhere, it is begun again and ends with the same account.
        """
        deadline = time.monotonic() + seconds
        mark = removals.find_unfinished(self.engine, removal_id)
        if mark is not None and self._empty(mark, deadline):
            removals.finish(self.engine, removal_id)
        return removals.get(Scope(self.engine), removal_id)

    def _empty(self, mark: removals.Mark, deadline: float) -> bool:
        for batch in _batches(self._below(mark.places)):
            if time.monotonic() > deadline:
                return False
            removals.note(self.engine, mark.id, [(listed.key, listed.size_bytes) for listed in batch])
            for listed in batch:
                self.store.delete(listed.key)
        return True

    def _below(self, places: Iterable[str]) -> Iterator[Listed]:
        for place in places:
            listed = self.store.list(place)
            yield from listed if place.endswith("/") else (each for each in listed if each.key == place)

    def _old(self) -> Iterator[Listed]:
        """Objects for which a row would have to be there by now."""
        before = self.now() - timedelta(seconds=self.settings.keep_unpointed_seconds)
        for noun in pointers.NOUNS:
            yield from (listed for listed in self.store.list(f"{noun}/") if listed.modified_at < before)

    def _stale(self) -> Iterator[Unfinished]:
        before = self.now() - timedelta(seconds=self.settings.keep_unpointed_seconds)
        return (unfinished for unfinished in self.store.unfinished() if unfinished.begun_at < before)


def _batches(items: Iterator[Listed]) -> Iterator[list[Listed]]:
    while batch := list(islice(items, BATCH)):
        yield batch
