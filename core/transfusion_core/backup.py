"""Backups: the database as it was at one moment, and every object of the store that its rows point at, in one folder.

The rows come first, so whatever they point at was in the store when they were written. What is deleted while objects
are copied is missing then, and its rows are gone from the database: the rows are written anew. The manifest comes last
and replaces the one before, so that a folder holds a whole backup or, with its manifest, the one before it. A backup
into the same folder takes only the objects that are new.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError
from sqlalchemy import Engine

from transfusion_core.db import dump, pointers
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.dump import DumpedTable
from transfusion_core.db.engine import reading
from transfusion_core.db.ids import new_id
from transfusion_core.errors import Conflict, ObjectCorrupt, ObjectMissing, Unavailable
from transfusion_core.specs.base import Name, Record
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store import FolderStore, Store
from transfusion_core.store.files import digest_of, whole, write_pieces
from transfusion_core.store.protocol import check_key

MANIFEST = "manifest.json"
OBJECTS = "objects"
ROWS = "rows-"
OBJECT_LIST = "objects.jsonl"
MOST_ROUNDS = 5
"""How often the rows are written anew because something was deleted meanwhile; each round copies only what is new."""
THREADS = 8
"""Objects under way at once: most are small, and each waits for the store's answer."""
BATCH = 1000
NAMED = 20
"""Faults that an error names one by one."""
PRIVATE = 0o700

Item = TypeVar("Item")
Found = TypeVar("Found")


class File(Record):
    """A file of rows, and what it holds."""

    name: Name
    sha256: str


class Manifest(Record):
    """What a backup consists of."""

    format: Literal[1] = 1
    version: str
    """Of the Transfusion that wrote it."""
    revision: str
    """Of the tables."""
    created_at: str
    folder: Name
    """Where the files of rows lie."""
    tables: list[DumpedTable]
    files: list[File]
    objects: int
    size_bytes: int
    lost: list[str]
    """Keys of objects that rows point at and the store did not have as they were promised."""


class Backup:
    """The backup in a folder, to be written or read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._objects = FolderStore(folder / OBJECTS)

    def write(self, engine: Engine, store: Store) -> Manifest:
        """Write the folder's first backup, or bring it up to now. The platform may run meanwhile."""
        with _written(self._folder):
            earlier = self._earlier()
            for _ in range(MOST_ROUNDS):
                rows = self._folder / f"{ROWS}{new_id()}"
                rows.mkdir(mode=PRIVATE)
                with dump.snapshot(engine) as session:
                    tables = dump.write_rows(session, rows)
                    named, begun = dict(pointers.pointed(session)), pointers.begun(session)
                wanted = dict.fromkeys(_below(store, begun)) | named
                copied = dict(zip(wanted, _each(partial(self._copy, store, earlier), wanted.items()), strict=True))
                missing = [key for key, stored in copied.items() if stored is None]
                if not pointers.deleted(engine, missing, begun=begun):
                    # A job that goes on replaces its own bundles; what its row named by a digest is another matter.
                    lost = sorted(key for key in missing if key in named)
                    return self._finish(rows, tables, [stored for stored in copied.values() if stored], lost)
        raise Unavailable(f"in {MOST_ROUNDS} rounds something was deleted each time; try again when less is deleted")

    def _copy(self, store: Store, earlier: dict[str, str], wanted: tuple[str, str | None]) -> StoredObject | None:
        """Have an object here, which never changes; None where the store has none, or not with the promised digest."""
        key, sha256 = wanted[0], wanted[1] or earlier.get(wanted[0])
        here = self._at(key)
        if not (sha256 and here.is_file() and digest_of(here) == sha256):
            try:
                with whole(here) as draft:
                    sha256 = write_pieces(draft, store.open_stream(key))
            except ObjectMissing:
                return None
        if wanted[1] not in (None, sha256):
            here.unlink()
            return None
        return StoredObject(key=key, size_bytes=here.stat().st_size, sha256=sha256)

    def _finish(self, rows: Path, tables: list[DumpedTable], objects: list[StoredObject], lost: list[str]) -> Manifest:
        with (rows / OBJECT_LIST).open("w", encoding="utf-8") as file:
            file.writelines(f"{stored.model_dump_json()}\n" for stored in objects)
        manifest = Manifest(
            version=version("transfusion"),
            revision=dump.newest_revision(),
            created_at=rfc3339(datetime.now(UTC)),
            folder=rows.name,
            tables=tables,
            files=[File(name=path.name, sha256=_settled(path)) for path in sorted(rows.iterdir())],
            objects=len(objects),
            size_bytes=sum(stored.size_bytes for stored in objects),
            lost=lost,
        )
        with whole(self._folder / MANIFEST) as draft:
            write_pieces(draft, [manifest.model_dump_json(indent=1).encode()])
        self._forget(rows, {stored.key for stored in objects})
        return manifest

    def _earlier(self) -> dict[str, str]:
        """Key and sha256 of what a backup of this folder holds already."""
        if not (self._folder / MANIFEST).exists():
            return {}
        return {stored.key: stored.sha256 for stored in self._stored(self._manifest())}

    def _forget(self, rows: Path, keys: set[str]) -> None:
        """Remove what only an earlier backup of this folder, or one that was interrupted, has to do with."""
        for earlier in self._folder.glob(f"{ROWS}*"):
            if earlier != rows:
                shutil.rmtree(earlier)
        for listed in self._objects.list(""):
            if listed.key not in keys:
                self._objects.delete(listed.key)

    def check(self) -> Manifest:
        """Read all of it. ObjectCorrupt names the files that are not as they were written; Conflict, what cannot be."""
        manifest = self._manifest()
        dump.check_revision(manifest.revision)
        _complain([(self._folder / manifest.folder / each.name, each.sha256) for each in manifest.files])
        _complain([(self._at(stored.key), stored.sha256) for stored in self._stored(manifest)])
        return manifest

    def restore(self, engine: Engine, store: Store) -> Manifest:
        """Check it, and put it into an empty database and store. One that was interrupted can be begun again."""
        manifest = self.check()
        with reading(engine) as session:
            dump.check_empty(session.connection())
        objects = list(self._stored(manifest))
        self._check_empty(store, {stored.key for stored in objects})
        for _ in _each(lambda stored: store.put_file(stored.key, self._at(stored.key)), objects):
            pass
        dump.read_rows(engine, self._folder / manifest.folder, manifest.tables, revision=manifest.revision)
        return manifest

    def _at(self, key: str) -> Path:
        return self._folder / OBJECTS / check_key(key)

    def _check_empty(self, store: Store, keys: set[str]) -> None:
        for listed in store.list(""):
            if listed.key not in keys:
                raise Conflict(f"expected an empty store, got one with {listed.key!r}")

    def _manifest(self) -> Manifest:
        path = self._folder / MANIFEST
        try:
            return Manifest.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise Conflict(f"expected a finished backup in {self._folder}, got no {MANIFEST}") from error
        except ValidationError as error:
            raise ObjectCorrupt(f"{path} is no manifest of a backup that this version reads: {error}") from error

    def _stored(self, manifest: Manifest) -> Iterator[StoredObject]:
        with (self._folder / manifest.folder / OBJECT_LIST).open(encoding="utf-8") as file:
            for line in file:
                yield StoredObject.model_validate(json.loads(line))


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """A folder that a backup is written to, by one at a time; nobody else's to read, since rows hold secrets."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE)
        ours = (MANIFEST, OBJECTS, ROWS, ".")
        strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith(ours))
        if strange:
            raise Conflict(f"expected an empty folder or an earlier backup in {folder}, got {strange[0]!r} there")
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(handle)
    except BlockingIOError as error:
        raise Conflict(f"another backup is being written to {folder}") from error
    except OSError as error:
        raise Unavailable(f"the backup's folder {folder} fails: {error.strerror}") from error


def _below(store: Store, job_ids: set[str]) -> Iterator[str]:
    return (listed.key for listed in store.list("jobs/") if listed.key.split("/")[1] in job_ids)


def _settled(path: Path) -> str:
    """sha256 of a file that is on the disk by now, whatever happens to the power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return digest_of(path)


def _fault(expected: tuple[Path, str]) -> str | None:
    path, sha256 = expected
    if not path.is_file():
        return f"{path} is missing"
    found = digest_of(path)
    return None if found == sha256 else f"{path}: expected sha256 {sha256}, got {found}"


def _complain(expected: list[tuple[Path, str]]) -> None:
    faults = [fault for fault in _each(_fault, expected) if fault]
    if faults:
        more = [f"and {len(faults) - NAMED} more"] if len(faults) > NAMED else []
        raise ObjectCorrupt("\n  ".join(["the backup is damaged:", *faults[:NAMED], *more]))


def _each(work: Callable[[Item], Found], items: Iterable[Item]) -> Iterator[Found]:
    """What work finds for each item, in order, several at once."""
    left = iter(items)
    with ThreadPoolExecutor(THREADS) as pool:
        while batch := list(islice(left, BATCH)):
            yield from pool.map(work, batch)
