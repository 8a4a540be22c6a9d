"""Room on a worker's disk: what was not used for longest goes first, and nothing that is in use."""

import fcntl
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from transfusion_core.settings import Settings

FOLDERS = ("objects", "pixels", "untrained")
"""What can be fetched or worked out again. `scratch` belongs to the jobs that run."""
DRAFT_SECONDS = 86_400.0
"""Files that begin with a dot are being written; after this nobody writes any more."""
TRY_SECONDS = 10.0
"""A worker without room tries to make some this often, and says so; it looks for some at every poll."""

_log = logging.getLogger(__name__)


class Room:
    """Whether a worker has room to begin another job; it makes some where it has not."""

    def __init__(self, settings: Settings) -> None:
        self._cache_dir, self._free_bytes = settings.cache_dir, settings.min_free_bytes
        self._most_bytes, self._unused_seconds = settings.cache_bytes, settings.cache_seconds
        self._tried_at = -math.inf

    def is_enough(self) -> bool:
        """Whether so much is free as the settings want; says why not, now and then."""
        if free_on(self._cache_dir) >= self._free_bytes:
            return True
        if time.monotonic() - self._tried_at >= TRY_SECONDS:  # to look through a cache takes a while
            self._tried_at = time.monotonic()
            make_room(self._cache_dir, free_bytes=self._free_bytes)
            if free_on(self._cache_dir) >= self._free_bytes:
                return True
            told = "no job is begun: %d bytes are free in %s, fewer than TRANSFUSION_MIN_FREE_BYTES"
            _log.warning(told, free_on(self._cache_dir), self._cache_dir)
        return False

    def tidy(self) -> int:
        """Bring the cache down to its size; bytes that were freed."""
        return make_room(
            self._cache_dir,
            most_bytes=self._most_bytes,
            free_bytes=self._free_bytes,
            unused_seconds=self._unused_seconds,
        )


class _File(NamedTuple):
    used_at: float
    path: Path
    size_bytes: int


def make_room(
    cache_dir: Path, *, most_bytes: int | None = None, free_bytes: int = 0, unused_seconds: float = float("inf")
) -> int:
    """Remove files of a cache until it has so many bytes at most and its disk so many free; bytes that were freed.

    What was not used for `unused_seconds` goes in any case.
    """
    files = sorted(_files(cache_dir))
    total = sum(file.size_bytes for file in files)
    too_many = 0 if most_bytes is None else total - most_bytes
    wanted = max(too_many, free_bytes - free_on(cache_dir))
    freed = 0
    for file in files:
        is_stale = _is_dead_draft(file) or time.time() - file.used_at > unused_seconds
        if freed >= wanted and not is_stale:
            continue
        if _remove(file):
            freed += file.size_bytes
    return freed


def free_on(cache_dir: Path) -> int:
    """Bytes that are free on the disk of a cache."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(cache_dir).free


def _files(cache_dir: Path) -> Iterator[_File]:
    for name in FOLDERS:
        for folder, _, names in os.walk(cache_dir / name):
            for path in (Path(folder, each) for each in names):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    yield _File(stat.st_mtime, path, stat.st_size)


def _is_dead_draft(file: _File) -> bool:
    return file.path.name.startswith(".") and time.time() - file.used_at > DRAFT_SECONDS


def _remove(file: _File) -> bool:
    """Remove a file unless it is held, or may still be written."""
    if file.path.name.startswith(".") and not _is_dead_draft(file):
        return False
    with suppress(FileNotFoundError):
        handle = os.open(file.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.path.unlink()
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
    return False
