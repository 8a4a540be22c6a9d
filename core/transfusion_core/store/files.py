"""Local files that appear whole or not at all, and their digests."""

import hashlib
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transfusion_core.store.protocol import CHUNK_BYTES, Data

PART_SUFFIX = ".part"
"""Of files that are being written, beside a leading dot."""


def digest_of(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def pieces_of(path: Path) -> Iterator[bytes]:
    """A file's bytes in pieces."""
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece


def write_pieces(path: Path, pieces: Iterable[Data], *, read_soon: bool = True) -> str:
    """Write a new file down to the disk; the sha256 of what was written.

    The kernel is told where nobody will `read_soon`: it then has no need to keep a copy in memory, nor to find room.
    """
    sha256 = hashlib.sha256()
    with path.open("xb") as file:
        for piece in pieces:
            sha256.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
        if not read_soon and hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return sha256.hexdigest()


@contextmanager
def whole(target: Path, *, beside: Path | None = None) -> Iterator[Path]:
    """A path to write to, which becomes `target` at the end of the block, and nothing if the block fails.

    `beside` is a folder of the same file system to write in, the target's own unless given.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = (beside or target.parent) / f".{uuid.uuid4().hex}{PART_SUFFIX}"
    try:
        yield draft
        os.replace(draft, target)
        _sync_folder(target.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a folder's entries to the disk, so that a rename outlives a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
