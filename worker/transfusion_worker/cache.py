"""A worker's local copies of objects, by their digest. Each use checks the copy: flipped bits load silently.

A copy is held, by a shared lock, for as long as its user lives; `room.py` removes none that is held.
"""

import errno
import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from transfusion_core.errors import Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import Store
from transfusion_core.store.files import digest_of
from transfusion_worker.room import make_room

_TRIES = 3
_FULL = (errno.ENOSPC, errno.EDQUOT)


def fetch(store: Store, stored: StoredObject, *, cache_dir: Path, holder: object) -> Path:
    """A local file with the object's bytes, which stays while `holder` does. Two processes may fetch it at once.

    Where the disk is full, what nobody uses makes room; Unavailable where that is not enough.
    """
    path = cache_dir / "objects" / stored.sha256[:2] / stored.sha256
    for _ in range(_TRIES):
        if _hold(path, holder) and digest_of(path) == stored.sha256:
            os.utime(path)  # its last use, by which room is made
            return path
        _get(store, stored, path, cache_dir)
    raise Unavailable(f"the cache lost its copy of '{stored.key}' {_TRIES} times while it was fetched")


def _hold(path: Path, holder: object) -> bool:
    """Whether there is a file at this path, which nobody removes from now on."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    weakref.finalize(holder, os.close, handle)
    fcntl.flock(handle, fcntl.LOCK_SH)
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False  # it was removed between the two


def _get(store: Store, stored: StoredObject, path: Path, cache_dir: Path) -> None:
    try:
        store.get_file(stored, path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        make_room(cache_dir, free_bytes=stored.size_bytes)
        _get_into_room(store, stored, path, cache_dir)


def _get_into_room(store: Store, stored: StoredObject, path: Path, cache_dir: Path) -> None:
    try:
        store.get_file(stored, path)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        told = f"the worker's disk is full: no room for {stored.size_bytes} bytes of '{stored.key}' in {cache_dir}"
        raise Unavailable(told) from error
