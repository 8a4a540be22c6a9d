"""The program that opens zip archives: `python -m transfusion_core.science.data.archive FD LIMITS`, shut in.

Members are checked when the archive is listed, before anything is inflated; nothing is ever written to disk. `tree.py`
asks.
"""

import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from stat import S_ISDIR, S_ISREG
from typing import IO, Self

from transfusion_core.science.answering import MORE, Refused, serve
from transfusion_core.science.data.paths import is_hidden, is_inside, is_plain
from transfusion_core.science.frames import Frame
from transfusion_core.science.isolation import Limits as Walls

PROGRAM = "transfusion_core.science.data.archive"
PIECE_BYTES = 1 << 20
FILE_MAX_BYTES = 1 << 30
"""A file that is read whole, an image or a table, be it plain or a member."""
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Others (bzip2, LZMA) shrink nothing that images have, and inflate more from less."""
_LOCAL_HEADER_BYTES = 30
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, struct.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold."""

    files: int = 1_000_000
    size_bytes: int = 64 * 2**30
    """Of all members, unpacked."""
    file_bytes: int = FILE_MAX_BYTES
    """Of a member that is read, unpacked: whoever asks for it has it in memory."""
    ratio: int = 200
    """Unpacked to packed; images hardly shrink, so more is a bomb."""
    ratio_from_bytes: int = 16 * 2**20
    """Members, and archives, smaller than this may shrink as they like."""

    def argument(self) -> str:
        """These limits as one argument of the program."""
        return json.dumps(asdict(self))

    @classmethod
    def of(cls, argument: str) -> Self:
        """The limits in an argument."""
        return cls(**json.loads(argument))


class Archive:
    """A zip archive whose members have been checked."""

    def __init__(self, file: IO[bytes], limits: Limits) -> None:
        try:
            self._zip = zipfile.ZipFile(file)
        except (*_BROKEN, ValueError) as error:
            raise Refused(f"it is neither a folder nor a readable zip file: {error}") from error
        members = self._zip.infolist()
        check_count(len(members), limits)
        for member in members:
            _check_member(member, limits)
        _check_sizes(members, limits)
        _check_overlaps(members)
        self._limits = limits
        kept = [member for member in members if not member.is_dir() and not is_hidden(member.filename)]
        self._members = {member.filename: member for member in kept}
        if len(self._members) < len(kept):
            raise Refused("it holds two members of the same name")

    def sizes(self) -> dict[str, int]:
        """The members and their sizes, by name, sorted."""
        return {name: self._members[name].file_size for name in sorted(self._members)}

    def pieces(self, name: str, *, first: bool = False) -> Iterator[bytes]:
        """A member's bytes, their checksum checked; or the first piece of them."""
        check_size(self._members[name].file_size, limits=self._limits)
        try:
            with self._zip.open(self._members[name]) as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
                    if first:
                        return
        except _BROKEN as error:
            raise Refused(f"the archive is broken there: {error}") from error


def check_count(count: int, limits: Limits) -> None:
    """Refuse more files than are taken."""
    if count > limits.files:
        raise Refused(f"it holds more than {limits.files} files")


def check_size(size_bytes: int, *, limits: Limits) -> None:
    """Refuse a file that is larger than one that is read."""
    if size_bytes > limits.file_bytes:
        raise Refused(f"expected a file of {limits.file_bytes} bytes at most, it has {size_bytes}")


def _check_member(member: zipfile.ZipInfo, limits: Limits) -> None:
    where = f"member {member.filename[:200]!r}"
    mode = member.external_attr >> 16
    if not is_inside(member.filename):
        raise Refused(f"{where} points outside the archive")
    if not is_plain(member.filename):
        raise Refused(f"{where} has a name that is too long or is no plain text")
    if mode and not (S_ISREG(mode) or S_ISDIR(mode)) and mode >> 12:
        raise Refused(f"{where} is a link or a device, not a file")
    if member.flag_bits & 1:
        raise Refused(f"{where} is encrypted")
    if member.compress_type not in METHODS:
        raise Refused(f"{where} is packed by method {member.compress_type}: expected stored or deflated")
    if member.file_size > limits.ratio_from_bytes and member.file_size > limits.ratio * max(member.compress_size, 1):
        raise Refused(f"{where} unpacks to more than {limits.ratio} times its size")


def _check_sizes(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    total, packed = (sum(getattr(member, size) for member in members) for size in ("file_size", "compress_size"))
    if total > limits.size_bytes:
        raise Refused(f"it unpacks to {total} bytes, more than the {limits.size_bytes} allowed")
    if total > limits.ratio_from_bytes and total > limits.ratio * max(packed, 1):
        raise Refused(f"it unpacks to more than {limits.ratio} times its size")


def _check_overlaps(members: list[zipfile.ZipInfo]) -> None:
    """Refuse members that share their bytes, as those of a bomb do that unpacks to much more than its size."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise Refused(f"member {member.filename[:200]!r} lies within another one")
        end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size


def main() -> None:
    """Answer what the archive in the open file `FD` holds: all members, or the bytes of one."""
    file, limits = os.fdopen(int(sys.argv[1]), "rb"), Limits.of(sys.argv[2])
    "cp437".encode("cp437")  # as names of old archives are written: nothing can be imported later
    archive: Archive | None = None

    def answer(question: Frame) -> Iterator[Frame]:
        nonlocal archive
        archive = archive or Archive(file, limits)
        name = question.head.get("read")
        if name is None:
            yield Frame({"sizes": archive.sizes()})
            return
        for piece in archive.pieces(name, first=question.head.get("first", False)):
            yield Frame({MORE: True}, piece)
        yield Frame({})

    serve(answer, limits=Walls(memory_bytes=2 << 30, cpu_seconds=24 * 3600, file_bytes=1 << 16))


if __name__ == "__main__":
    main()
