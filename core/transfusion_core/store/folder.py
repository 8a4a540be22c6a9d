"""A store in a local folder, for the embedded mode and tests: one file per object, no links to hand out."""

import errno
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

from transfusion_core.errors import ObjectMissing, StoreError, Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store.files import PART_SUFFIX, digest_of, pieces_of, whole, write_pieces
from transfusion_core.store.protocol import Data, Listed, Part, Unfinished, check_digest, check_key, checked, key_of

BULK_BYTES = 8 << 20
"""Objects of this size are pieces of packs, pixels and checkpoints: read later, once, and often by another machine."""
_TOKEN = re.compile("[0-9a-f]{32}")


class FolderStore:
    """Objects as files below a root. Files that are being written have a leading dot, which no key has."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put_file(self, key: str, path: Path) -> StoredObject:
        """See Store."""
        return self._put(key, pieces_of(path), path.stat().st_size)

    def put_bytes(self, key: str, data: Data) -> StoredObject:
        """See Store."""
        return self._put(key, [data], len(data))

    def get_file(self, stored: StoredObject, path: Path) -> None:
        """See Store."""
        source = self.open_stream(stored.key)
        with whole(path) as draft:
            check_digest(stored, write_pieces(draft, source))

    def get_bytes(self, stored: StoredObject | str) -> bytes:
        """See Store."""
        return b"".join(self.open_stream(stored))

    def open_stream(self, stored: StoredObject | str) -> Iterator[bytes]:
        """See Store."""
        key = key_of(stored)
        return checked(stored, self._pieces(self._existing(key)))

    def size(self, key: str) -> int | None:
        """See Store."""
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def exists(self, key: str) -> bool:
        """See Store."""
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        """See Store."""
        with self._answering():
            self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[Listed]:
        """See Store."""
        return iter(sorted(self._listed(prefix)))

    def unfinished(self) -> Iterator[Unfinished]:
        """See Store. Files whose writer has not renamed them yet."""
        for path in self._root.rglob(f".*{PART_SUFFIX}"):
            if (begun_at := _modified_at(path)) is not None:
                name = path.relative_to(self._root).as_posix()
                yield Unfinished(path.parent.relative_to(self._root).as_posix(), name, begun_at)

    def abandon(self, unfinished: Unfinished) -> None:
        """See Store."""
        path = (self._root / unfinished.token).resolve()
        if not path.is_relative_to(self._root) or path.suffix != PART_SUFFIX:
            raise StoreError(f"{unfinished.token!r} is no unfinished object of this store")
        with self._answering():
            path.unlink(missing_ok=True)

    def begin_parts(self, key: str) -> str:
        """See Store."""
        check_key(key)
        return uuid.uuid4().hex

    def put_part(self, key: str, token: str, number: int, path: Path) -> None:
        """See Store. A hidden file beside the object to be."""
        with self._answering(), whole(self._part(key, token, number)) as draft:
            write_pieces(draft, pieces_of(path))

    def parts(self, key: str, token: str) -> Sequence[Part]:
        """See Store."""
        found = []
        for path in sorted(self._path(key).parent.glob(f".{_token(token)}-*{PART_SUFFIX}")):
            with suppress(FileNotFoundError):  # joined, or abandoned, just now
                found.append(Part(int(path.stem.rpartition("-")[2]), path.stat().st_size, path.name))
        return found

    def join_parts(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """See Store."""
        if self.exists(key):
            return
        paths = [self._part(key, token, part.number) for part in parts]
        with self._answering():
            self._put(key, chain.from_iterable(map(pieces_of, paths)), sum(part.size_bytes for part in parts))
            for path in paths:
                path.unlink(missing_ok=True)

    def abandon_parts(self, key: str, token: str) -> None:
        """See Store."""
        with self._answering():
            for part in self.parts(key, token):
                self._part(key, token, part.number).unlink(missing_ok=True)

    def presign_get(self, key: str, *, seconds: int, filename: str) -> str | None:
        """None: a folder has no links."""
        check_key(key)
        return None

    def presign_put(self, key: str, *, seconds: int, size_bytes: int) -> str | None:
        """None: a folder has no links."""
        check_key(key)
        return None

    def presign_part(
        self, key: str, token: str, number: int, *, seconds: int, size_bytes: int, md5: str | None
    ) -> str | None:
        """None: a folder has no links."""
        check_key(key)
        return None

    def _part(self, key: str, token: str, number: int) -> Path:
        return self._path(key).parent / f".{_token(token)}-{number:05d}{PART_SUFFIX}"

    def _put(self, key: str, pieces: Iterable[Data], size_bytes: int) -> StoredObject:
        target = self._path(key)
        with self._answering(), whole(target) as draft:
            sha256 = write_pieces(draft, pieces, read_soon=size_bytes < BULK_BYTES)
            if target.is_file() and digest_of(target) != sha256:
                raise StoreError(f"object '{key}' exists with other bytes; objects never change")
            if draft.stat().st_size != size_bytes:
                raise StoreError(f"object '{key}': expected {size_bytes} bytes, wrote {draft.stat().st_size}")
        return StoredObject(key=key, size_bytes=size_bytes, sha256=sha256)

    def _listed(self, prefix: str) -> Iterator[Listed]:
        folder = self._root / prefix.rpartition("/")[0]
        for path in folder.rglob("*"):
            key = path.relative_to(self._root).as_posix()
            if path.name.startswith(".") or not key.startswith(prefix) or not path.is_file():
                continue
            if (modified_at := _modified_at(path)) is not None:
                yield Listed(key, path.stat().st_size, modified_at)

    def _pieces(self, path: Path) -> Iterator[bytes]:
        with self._answering():
            yield from pieces_of(path)

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise ObjectMissing(f"there is no object '{key}' in the store")
        return path

    def _path(self, key: str) -> Path:
        path = (self._root / check_key(key)).resolve()
        if not path.is_relative_to(self._root):
            raise StoreError(f"object '{key}' lies outside the store's folder")
        return path

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """The file system's errors as ours."""
        try:
            yield
        except FileNotFoundError as error:
            raise ObjectMissing(f"{error.filename} is gone from the store's folder") from error
        except OSError as error:
            full = " is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise Unavailable(f"the store's folder {self._root}{full or f' fails: {error.strerror}'}") from error


def _token(token: str) -> str:
    if not _TOKEN.fullmatch(token):
        raise StoreError(f"{token[:80]!r} is no token of this store")
    return token


def _modified_at(path: Path) -> datetime | None:
    """None for a file that went while it was looked at."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except FileNotFoundError:
        return None
