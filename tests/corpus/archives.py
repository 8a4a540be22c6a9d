"""Zip archives that lie, climb, link, explode or are none."""

import io
import stat
import struct
import warnings
import zipfile

from corpus import Case

CLIMBING = [
    "../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png", "C:\\evil.png",
    "a\\..\\..\\evil",
    "//host/evil.png", "..", "../", "a/..", "\\evil.png", "/", "c:evil",
]  # fmt: skip
UNSHOWABLE = [
    "a\nb.png",
    "a\rb.png",
    "a\x1b[2J.png",
    "a\x07.png",
    "\u202egnp.exe",
    "a\u2028b.png",
    "x" * 1001,
    "\x7f.png",
]
MODES = {
    "link": stat.S_IFLNK,
    "device": stat.S_IFCHR,
    "disk": stat.S_IFBLK,
    "pipe": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
}
OTHERS = {
    "gzip": b"\x1f\x8b\x08", "7z": b"7z\xbc\xaf\x27\x1c", "rar": b"Rar!\x1a\x07\x01\x00", "xz": b"\xfd7zXZ\x00",
    "bzip2": b"BZh9", "tar": b"a.png" + bytes(252) + b"ustar", "zstd": b"\x28\xb5\x2f\xfd", "cab": b"MSCF",
    "elf": b"\x7fELF", "exe": b"MZ", "script": b"#!/bin/sh\n", "html": b"<!DOCTYPE html>", "pdf": b"%PDF-1.7",
    "empty": b"", "one byte": b"P", "magic": b"PK\x03\x04", "end": b"PK\x05\x06", "text": b"hello",
    "nul": bytes(1000),
    "pickle": b"\x80\x04K\x01.",
}  # fmt: skip


def archives() -> list[Case]:
    """Files that a dataset's location leads to."""
    return [
        *(Case(f"member {name[:30]!r}", lambda name=name: _zip(name), "points outside") for name in CLIMBING),
        *(Case(f"member {name[:30]!r}", lambda name=name: _zip(name), "no plain text") for name in UNSHOWABLE),
        *(Case(f"a {name}", lambda mode=mode: _with_mode(mode), "a link or a device") for name, mode in MODES.items()),
        *(Case(f"{name} for zip", lambda data=data: data, "neither a folder nor") for name, data in OTHERS.items()),
        *(Case(f"cut at {part}/16", lambda part=part: _cut(part), "neither a folder nor") for part in range(1, 16)),
        *(
            Case(f"method {method}", lambda method=method: _method(method), "packed by method")
            for method in (9, 12, 14, 99)
        ),
        Case("bomb", lambda: _zip("a.png", bytes(20_000_000)), "unpacks to more than 200 times"),
        Case("bomb of many", lambda: _many(5, bytes(4_000_000)), "unpacks to more than 200 times"),
        Case("overlapping", _overlapping, "lies within another one"),
        Case("encrypted", lambda: _patched(8, b"\1\0"), "is encrypted"),
        Case("twice", _twice, "two members of the same name"),
        Case("says 8 EB", lambda: _patched(24, struct.pack("<I", 0xFFFFFFF0)), "more than 200 times"),
        Case("says 2 GB", _of_2_gb, "expected a file of 1073741824 bytes at most, it has 2147483648"),
        Case("too many", lambda: _many(1_001, b""), "more than 1000 files"),
    ]


def _zip(name: str, data: bytes = b"x") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        member = zipfile.ZipInfo("placeholder")
        member.filename = name
        archive.writestr(member, data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _with_mode(mode: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        member = zipfile.ZipInfo("a.png")
        member.external_attr = (mode | 0o777) << 16
        archive.writestr(member, "/etc/passwd")
    return stream.getvalue()


def _cut(part: int) -> bytes:
    whole = _zip("a.png", bytes(range(256)))
    return whole[: len(whole) * part // 16]


def _patched(offset: int, data: bytes) -> bytes:
    """An archive whose central directory says something else at an offset of its entry."""
    whole = bytearray(_zip("a.png"))
    at = whole.index(b"PK\x01\x02") + offset
    whole[at : at + len(data)] = data
    return bytes(whole)


def _of_2_gb() -> bytes:
    """It says that it shrank by half, which is no bomb's ratio."""
    return _patched(20, struct.pack("<II", 1 << 30, 2 << 30))


def _method(method: int) -> bytes:
    return _patched(10, struct.pack("<H", method))


def _many(count: int, data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(count):
            archive.writestr(f"{number}.png", data)
    return stream.getvalue()


def _overlapping() -> bytes:
    """Two names for the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.png", bytes(100))
        archive.writestr("b.png", bytes(100))
        archive.infolist()[1].header_offset = archive.infolist()[0].header_offset + 1
    return stream.getvalue()


def _twice() -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    return stream.getvalue()
