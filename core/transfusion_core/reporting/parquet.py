"""One table as a Parquet file: a row group, a page per column, every column with nulls.

A library that writes it is 34 MB of the API's image or more. A long table needs a corner of the format that has not
changed since its first version: plain values, runs of definition levels, gzip, a footer in Thrift's compact protocol.
"""

import gzip
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

MARK = b"PAR1"
MAX_PAGE_BYTES = 2**31 - 1
BOOL, INT64, DOUBLE, BYTES = 0, 2, 5, 6
KINDS: dict[type, int] = {bool: BOOL, int: INT64, float: DOUBLE, str: BYTES}
_PLAIN, _LEVELS, _GZIP, _OPTIONAL, _UTF8, _DATA_PAGE = 0, 3, 2, 1, 0, 0
_I32, _I64, _BINARY, _LIST, _STRUCT = 5, 6, 8, 9, 12


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A column's page in the file."""

    name: str
    kind: int
    values: int
    offset: int
    packed_bytes: int
    plain_bytes: int
    """Both with the page's header."""


def write(columns: Mapping[str, tuple[type, Sequence[Any]]]) -> bytes:
    """Columns of one length as a file: names to the type of their values (a key of `KINDS`) and the values or None.

    Raises ValueError if the columns differ in length, OverflowError for an integer that does not fit in 64 bits or a
    column of more than 2 GiB.
    """
    lengths = {len(values) for _, values in columns.values()}
    if len(lengths) > 1:
        raise ValueError(f"expected columns of one length, got {sorted(lengths)}")
    (rows,) = lengths or {0}
    file, chunks = bytearray(MARK), []
    for name, (kind, values) in columns.items():
        header, page, plain_bytes = _page(KINDS[kind], values)
        sizes = {"packed_bytes": len(header) + len(page), "plain_bytes": len(header) + plain_bytes}
        chunks.append(Chunk(name=name, kind=KINDS[kind], values=rows, offset=len(file), **sizes))
        file += header + page
    footer = _footer(chunks, rows)
    return bytes(file + footer + struct.pack("<I", len(footer)) + MARK)


def _page(kind: int, values: Sequence[Any]) -> tuple[bytes, bytes, int]:
    """A page's header, its packed bytes, and how many they are unpacked."""
    levels = b"".join(
        _varint(len(list(run)) << 1) + bytes([there]) for there, run in groupby(value is not None for value in values)
    )
    plain = struct.pack("<I", len(levels)) + levels + _values(kind, [value for value in values if value is not None])
    if len(plain) > MAX_PAGE_BYTES:
        raise OverflowError(f"a column of {len(plain)} bytes: expected at most {MAX_PAGE_BYTES}")
    packed = gzip.compress(plain, mtime=0)
    about = _struct({1: len(values), 2: _PLAIN, 3: _LEVELS, 4: _LEVELS})
    return _struct({1: _DATA_PAGE, 2: len(plain), 3: len(packed), 5: about}), packed, len(plain)


def _values(kind: int, values: list[Any]) -> bytes:
    if kind == BOOL:
        bits = "".join("01"[value] for value in reversed(values))
        return int(bits or "0", 2).to_bytes((len(values) + 7) // 8, "little")
    if kind == BYTES:
        encoded = [value.encode() for value in values]
        return b"".join(struct.pack("<I", len(each)) + each for each in encoded)
    try:
        return struct.pack(f"<{len(values)}{'q' if kind == INT64 else 'd'}", *values)
    except struct.error as e:
        raise OverflowError("expected integers of 64 bits") from e


def _footer(chunks: list[Chunk], rows: int) -> bytes:
    root = _struct({4: b"table", 5: len(chunks)})
    elements = [
        _struct({1: each.kind, 3: _OPTIONAL, 4: each.name.encode(), **({6: _UTF8} if each.kind == BYTES else {})})
        for each in chunks
    ]
    about = [
        _struct(
            {
                1: each.kind,
                2: [_PLAIN, _LEVELS],
                3: [each.name.encode()],
                4: _GZIP,
                **{5: _Long(each.values), 6: _Long(each.plain_bytes), 7: _Long(each.packed_bytes)},
                9: _Long(each.offset),
            }
        )
        for each in chunks
    ]
    placed = [_struct({2: _Long(each.offset), 3: of}) for each, of in zip(chunks, about, strict=True)]
    group = _struct({1: placed, 2: _Long(sum(each.plain_bytes for each in chunks)), 3: _Long(rows)})
    return _struct({1: 1, 2: [root, *elements], 3: _Long(rows), 4: [group], 6: b"transfusion"})


class _Long(int):
    """An integer of 64 bits where the format asks for one."""


class _Struct(bytes):
    """A structure that is encoded already, where other bytes are text."""


def _struct(fields: Mapping[int, Any]) -> _Struct:
    """Thrift's compact protocol: fields by their numbers, in rising order."""
    encoded, last = bytearray(), 0
    for number, value in fields.items():
        encoded += bytes([(number - last) << 4 | _type(value)]) + _encoded(value)
        last = number
    return _Struct(encoded + b"\0")


def _type(value: Any) -> int:
    types = {_Long: _I64, int: _I32, bytes: _BINARY, _Struct: _STRUCT, list: _LIST}
    return types[type(value)]


def _encoded(value: Any) -> bytes:
    if isinstance(value, list):
        kind = _type(value[0]) if value else _STRUCT
        size = bytes([len(value) << 4 | kind]) if len(value) < 15 else bytes([0xF0 | kind]) + _varint(len(value))
        return size + b"".join(_encoded(each) for each in value)
    if isinstance(value, _Struct):
        return value
    if isinstance(value, bytes):
        return _varint(len(value)) + value
    return _varint(value << 1)  # zigzag: what is counted here is never negative


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])
