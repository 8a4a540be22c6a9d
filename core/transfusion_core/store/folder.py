"""A store in a local folder, for the embedded mode and tests: one file per object, no links to hand out."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from transfusion_core.errors import ObjectMissing, StoreError, Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store.files import digest_of, pieces_of, whole, write_pieces
from transfusion_core.store.protocol import check_digest, check_key, key_of


class FolderStore:
    """Objects as files below a root. Files that are being written have a leading dot, which no key has."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def put_file(self, key: str, path: Path) -> StoredObject:
        """See Store."""
        return self._put(key, pieces_of(path), path.stat().st_size)

    def put_bytes(self, key: str, data: bytes) -> StoredObject:
        """See Store."""
        return self._put(key, [data], len(data))

    def get_file(self, stored: StoredObject, path: Path) -> None:
        """See Store."""
        source = self._existing(stored.key)
        with whole(path) as draft:
            check_digest(stored, write_pieces(draft, pieces_of(source)))

    def get_bytes(self, stored: StoredObject | str) -> bytes:
        """See Store."""
        path = self._existing(key_of(stored))
        if isinstance(stored, StoredObject):
            check_digest(stored, digest_of(path))
        return path.read_bytes()

    def open_stream(self, key: str) -> Iterator[bytes]:
        """See Store."""
        return pieces_of(self._existing(key))

    def size(self, key: str) -> int | None:
        """See Store."""
        path = self._path(key)
        return path.stat().st_size if path.is_file() else None

    def exists(self, key: str) -> bool:
        """See Store."""
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        """See Store."""
        self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        files = (path for path in self._root.rglob("*") if path.is_file() and not path.name.startswith("."))
        keys = sorted(path.relative_to(self._root).as_posix() for path in files)
        return (key for key in keys if key.startswith(prefix))

    def presign_get(self, key: str, *, seconds: int, filename: str) -> str | None:
        """None: a folder has no links."""
        check_key(key)
        return None

    def presign_put(self, key: str, *, seconds: int, size_bytes: int) -> str | None:
        """None: a folder has no links."""
        check_key(key)
        return None

    def _put(self, key: str, pieces: Iterable[bytes], size_bytes: int) -> StoredObject:
        target = self._path(key)
        with _answering(self._root), whole(target) as draft:
            sha256 = write_pieces(draft, pieces)
            if target.is_file() and digest_of(target) != sha256:
                raise StoreError(f"object '{key}' exists with other bytes; objects never change")
            if draft.stat().st_size != size_bytes:
                raise StoreError(f"object '{key}': expected {size_bytes} bytes, wrote {draft.stat().st_size}")
        return StoredObject(key=key, size_bytes=size_bytes, sha256=sha256)

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
def _answering(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the store's folder {root} cannot be written: {error.strerror}") from error
