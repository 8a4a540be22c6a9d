"""Where a dataset's files lie: a folder or a zip archive, read alike and checked before anything is believed.

Paths are relative, with '/'. Nothing is ever extracted to disk. Hidden files and macOS's resource forks are
passed over.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from stat import S_ISDIR, S_ISREG
from typing import Protocol

from transfusion_core.errors import DataError


@dataclass(frozen=True)
class Limits:
    """What an archive may hold."""

    files: int = 1_000_000
    size_bytes: int = 64 * 2**30
    """Of all members, unpacked."""
    ratio: int = 200
    """Unpacked to packed; images hardly shrink, so more is a bomb."""
    ratio_from_bytes: int = 16 * 2**20
    """Members smaller than this may shrink as they like."""


class Tree(Protocol):
    """Files by relative path."""

    def files(self) -> list[str]:
        """All paths, sorted."""
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
    if source.is_dir():
        with ExitStack() as stack:
            yield FolderTree(source, stack, limits)
        return
    if not source.is_file():
        raise DataError(f"there is nothing at {source.name!r}: expected a folder or a zip file")
    with _open_zip(source) as archive:
        yield ZipTree(archive, source.name, limits)


def is_inside(path: str) -> bool:
    """Does a relative path stay below its root."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return bool(parts) and ".." not in parts and parts[0] != "/" and not parts[0].endswith(":") and "\0" not in path


class FolderTree:
    """A folder; files that lie in zip archives directly in it are found too, but not listed.

    Links are not followed.
    """

    def __init__(self, root: Path, stack: ExitStack, limits: Limits) -> None:
        self._root, self._stack, self._limits = root.resolve(), stack, limits
        self._archives: list[ZipTree] | None = None

    def files(self) -> list[str]:
        """All plain files, sorted."""
        found: list[str] = []
        for path in self._root.rglob("*"):
            relative = path.relative_to(self._root).as_posix()
            if not _is_hidden(relative) and not path.is_symlink() and path.is_file():
                found.append(relative)
                _check_count(len(found), self._root.name, self._limits)
        return sorted(found)

    def holds(self, path: str) -> bool:
        """Is there such a plain file, or one in an archive directly in the folder."""
        return self._plain(path) is not None or self._archive_of(path) is not None

    def read(self, path: str) -> bytes:
        """The bytes of a plain file, or else of one in an archive."""
        plain = self._plain(path)
        if plain is not None:
            try:
                return plain.read_bytes()
            except OSError as error:
                raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        archive = self._archive_of(path)
        if archive is None:
            raise DataError(f"{path}: there is no such file")
        return archive.read(path)

    def _plain(self, path: str) -> Path | None:
        if not is_inside(path):
            return None
        try:
            resolved = (self._root / path).resolve()
            return resolved if resolved.is_relative_to(self._root) and resolved.is_file() else None
        except OSError:  # a name longer than the file system takes
            return None

    def _archive_of(self, path: str) -> "ZipTree | None":
        if self._archives is None:
            zips = sorted(file for file in self._root.glob("*.zip") if file.is_file() and not file.is_symlink())
            opened = [(self._stack.enter_context(_open_zip(file)), file.name) for file in zips]
            self._archives = [ZipTree(archive, name, self._limits) for archive, name in opened]
        return next((archive for archive in self._archives if archive.holds(path)), None)


class ZipTree:
    """A zip archive, whose members are checked when it is opened."""

    def __init__(self, archive: zipfile.ZipFile, name: str, limits: Limits) -> None:
        self._archive = archive
        members = archive.infolist()
        _check_count(len(members), name, limits)
        for member in members:
            _check_member(member, name, limits)
        total = sum(member.file_size for member in members)
        if total > limits.size_bytes:
            raise DataError(f"{name}: unpacks to {total} bytes, more than the {limits.size_bytes} allowed")
        kept = [member for member in members if not member.is_dir() and not _is_hidden(member.filename)]
        self._members = {member.filename: member for member in kept}
        if len(self._members) < len(kept):
            raise DataError(f"{name}: holds two members of the same name")

    def files(self) -> list[str]:
        """All members, sorted."""
        return sorted(self._members)

    def holds(self, path: str) -> bool:
        """Is there such a member."""
        return path in self._members

    def read(self, path: str) -> bytes:
        """The member's bytes, their checksum checked."""
        if path not in self._members:
            raise DataError(f"{path}: there is no such member")
        try:
            return self._archive.read(self._members[path])
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError) as error:
            raise DataError(f"{path}: the archive is broken there: {error}") from error


def _open_zip(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError, struct.error, ValueError) as error:
        raise DataError(f"{source.name!r} is neither a folder nor a readable zip file: {error}") from error


def _check_member(member: zipfile.ZipInfo, archive: str, limits: Limits) -> None:
    where = f"{archive}: member {member.filename!r}"
    mode = member.external_attr >> 16
    if not is_inside(member.filename):
        raise DataError(f"{where} points outside the archive")
    if mode and not (S_ISREG(mode) or S_ISDIR(mode)) and mode >> 12:
        raise DataError(f"{where} is a link or a device, not a file")
    if member.flag_bits & 1:
        raise DataError(f"{where} is encrypted")
    if member.file_size > limits.ratio_from_bytes and member.file_size > limits.ratio * max(member.compress_size, 1):
        raise DataError(f"{where} unpacks to more than {limits.ratio} times its size")


def _check_count(count: int, name: str, limits: Limits) -> None:
    if count > limits.files:
        raise DataError(f"{name}: holds more than {limits.files} files")


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
