"""Where a dataset's files lie: a folder or a zip archive, read alike and checked before anything is believed.

Paths are relative, with '/'. Nothing is ever extracted to disk, and archives are opened by a process apart
(`archive.py`). Hidden files and macOS's resource forks are passed over.
"""

import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol

from transfusion_core.errors import DataError
from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import Apart, Died
from transfusion_core.science.data.archive import FILE_MAX_BYTES, PROGRAM, Limits, check_size
from transfusion_core.science.data.paths import is_hidden, is_inside, is_plain
from transfusion_core.science.frames import Frame

ARCHIVES_MAX = 64
"""Zip archives directly in a folder; each is opened by a process of its own."""
LINK = "is a link, and links are not followed"
"""Said of a file that is not read."""
LISTING_SECONDS, READING_SECONDS = 300.0, 300.0
SLOWEST_BYTES = 10 << 20
"""A member is given another second for so many bytes."""


class Tree(Protocol):
    """Files by relative path."""

    def files(self) -> list[str]:
        """All paths, sorted."""
        ...

    def links(self) -> frozenset[str]:
        """Links to files and to folders: neither is read."""
        ...

    def everything(self) -> list[str]:
        """All paths that can be read, members of archives too."""
        ...

    def holds(self, path: str) -> bool:
        """Is there such a file."""
        ...

    def read(self, path: str) -> bytes:
        """The file's bytes; DataError where it cannot be read."""
        ...


@contextmanager
def open_tree(source: Path, *, limits: Limits | None = None) -> Iterator[Tree]:
    """The tree at a folder or zip file."""
    limits = limits or Limits()
    with ExitStack() as stack:
        if source.is_dir():
            yield FolderTree(source, stack, limits)
        elif source.is_file():
            yield stack.enter_context(_archive(source, limits))
        else:
            raise DataError(f"there is nothing at {source.name!r}: expected a folder or a zip file")


def is_linked(tree: Tree, path: str) -> bool:
    """Is a path that of a link, or does it lead through one."""
    links = tree.links()
    return any(str(place) in links for place in (PurePosixPath(path), *PurePosixPath(path).parents))


class FolderTree:
    """A folder; files that lie in zip archives directly in it are found too, but not listed.

    Links are not followed, wherever they lead.
    """

    def __init__(self, root: Path, stack: ExitStack, limits: Limits) -> None:
        self._root, self._stack, self._limits = root.resolve(), stack, limits
        self._archives: list[ZipTree] | None = None
        self._links: frozenset[str] | None = None
        self._folders: dict[str, Path | None] = {}
        """Where folders lie, None for links and below them; asked once, since that takes longer than reading a file."""

    def files(self) -> list[str]:
        """All plain files, sorted."""
        found: list[str] = []
        links: list[str] = []
        for path in self._root.rglob("*"):
            relative = path.relative_to(self._root).as_posix()
            if is_hidden(relative):
                continue
            if not (linked := path.is_symlink()) and not path.is_file():
                continue
            if not is_plain(relative):
                raise DataError(f"{self._root.name}: the name of the file {relative[:200]!r} is no plain text")
            (links if linked else found).append(relative)
            if len(found) + len(links) > self._limits.files:
                raise DataError(f"{self._root.name}: it holds more than {self._limits.files} files")
        self._links = frozenset(links)
        return sorted(found)

    def links(self) -> frozenset[str]:
        """All links, as they were when files were listed: to walk through a million files takes long."""
        if self._links is None:
            self.files()
        return self._links or frozenset()

    def everything(self) -> list[str]:
        """All plain files, and the members of archives directly in the folder; sorted."""
        return sorted({*self.files(), *(member for archive in self._zips() for member in archive.files())})

    def holds(self, path: str) -> bool:
        """Is there such a plain file, or one in an archive directly in the folder."""
        return self._plain(path) is not None or self._archive_of(path) is not None

    def read(self, path: str) -> bytes:
        """The bytes of a plain file, or else of one in an archive."""
        plain = self._plain(path)
        if plain is not None:
            return _bytes_of(plain, path)
        archive = self._archive_of(path)
        if archive is None:
            raise DataError(f"{path}: there is no such file")
        return archive.read(path)

    def _plain(self, path: str) -> Path | None:
        if not is_inside(path):
            return None
        try:
            folder, _, name = path.rpartition("/")
            if folder not in self._folders:
                place = self._root / folder
                self._folders[folder] = place if place.resolve() == place else None
            whole = self._folders[folder]
            return whole / name if whole and stat.S_ISREG((whole / name).lstat().st_mode) else None
        except (OSError, RuntimeError, ValueError):  # too long a name, links in a circle, no name at all
            return None

    def _archive_of(self, path: str) -> "ZipTree | None":
        return next((archive for archive in self._zips() if archive.holds(path)), None)

    def _zips(self) -> "list[ZipTree]":
        if self._archives is None:
            zips = sorted(file for file in self._root.glob("*.zip") if file.is_file() and not file.is_symlink())
            if len(zips) > ARCHIVES_MAX:
                raise DataError(f"{self._root.name}: it holds {len(zips)} zip files, more than {ARCHIVES_MAX}")
            self._archives = [self._stack.enter_context(_archive(file, self._limits)) for file in zips]
        return self._archives


class ZipTree:
    """A zip archive as the process that holds it tells of it. For one thread at a time."""

    def __init__(self, apart: Apart, name: str, limits: Limits) -> None:
        self._apart, self._name = apart, name
        self._limits, self._left_bytes = limits, limits.size_bytes
        try:
            told = apart.ask(Frame({}), within_seconds=LISTING_SECONDS).head.get("sizes")
        except (Refused, Died) as error:
            raise DataError(f"{name}: {error}") from error
        if not isinstance(told, dict) or not all(isinstance(size, int) for size in told.values()):
            raise DataError(f"{name}: the process that reads it answered nonsense")
        self._sizes: dict[str, int] = told

    def files(self) -> list[str]:
        """All members, sorted."""
        return sorted(self._sizes)

    def links(self) -> frozenset[str]:
        """None: an archive that holds one is refused."""
        return frozenset()

    def everything(self) -> list[str]:
        """The same: an archive in an archive is not opened."""
        return self.files()

    def holds(self, path: str) -> bool:
        """Is there such a member."""
        return path in self._sizes

    def size_bytes(self, path: str) -> int:
        """Of a member, unpacked. DataError where there is none."""
        if path not in self._sizes:
            raise DataError(f"{path}: there is no such member")
        return self._sizes[path]

    def read(self, path: str) -> bytes:
        """The member's bytes, their checksum checked."""
        return b"".join(self.pieces(path))

    def pieces(self, path: str, *, first: bool = False) -> Iterator[bytes | bytearray]:
        """The same, a piece at a time, to the last one; or the first piece alone."""
        size, came = self.size_bytes(path), 0
        question, seconds = Frame({"read": path, "first": first}), READING_SECONDS + size / SLOWEST_BYTES
        try:
            check_size(size, limits=self._limits)
            for frame in self._apart.pieces(question, within_seconds=seconds):
                came += len(frame.data)
                if came > min(size, self._left_bytes):
                    self._apart.close()
                    raise DataError(f"{path}: the archive {self._name} unpacks to more than it says")
                yield frame.data
        except (Refused, Died) as error:
            raise DataError(f"{path}: {error}") from error
        self._left_bytes -= came


@contextmanager
def _archive(source: Path, limits: Limits) -> Iterator[ZipTree]:
    try:
        file = source.open("rb")
    except OSError as error:
        raise DataError(f"{source.name}: cannot be read: {error.strerror}") from error
    with file:
        apart = Apart(PROGRAM, str(file.fileno()), limits.argument(), holding=[file])
        try:
            yield ZipTree(apart, source.name, limits)
        finally:
            apart.close()


def _bytes_of(file: Path, path: str) -> bytes:
    try:
        about = file.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > FILE_MAX_BYTES:
            raise DataError(f"{path}: expected a file of {FILE_MAX_BYTES} bytes at most, it has {about.st_size}")
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error
