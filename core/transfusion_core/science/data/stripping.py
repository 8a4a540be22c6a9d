"""JPEG and PNG files without what they hold besides the picture: EXIF, comments, places, names, thumbnails, appendices.

The coded picture is copied byte for byte, so that its pixels stay what they are and nothing is coded anew.
"""

import re

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Of a PNG: all that its pixels depend on."""
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG markers without a length."""
_DROPPED = frozenset({*range(0xE1, 0xEE), 0xEF, *range(0xF0, 0xFF)})
"""APP1 to APP13, APP15, comments and reserved ones. APP0 (JFIF) and APP14 (Adobe) say what the colours mean."""
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""In coded data, where FF 00 stands for FF and restarts are part of it. One that begins with one byte is found fast."""


class Unstripped(ValueError):
    """The file is not built as its format says."""


def stripped_png(data: bytes) -> bytes:
    """A PNG file with its picture alone."""
    kept, place = [SIGNATURE], len(SIGNATURE)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        kind = data[place + 4 : place + 8]
        if end > len(data):
            raise Unstripped("the file is cut off")
        if kind in _CHUNKS:
            kept.append(data[place:end])
        if kind == b"IEND":
            return b"".join(kept)
        place = end
    raise Unstripped("the file is cut off")


def stripped_jpeg(data: bytes) -> bytes:
    """A JPEG file with its first picture alone."""
    kept, place = [data[:2]], 2
    while place + 4 <= len(data):
        marker, start = _marker(data, place)
        if marker == _EOI:
            return b"".join([*kept, b"\xff\xd9"])
        if marker in _BARE:
            place = start
            continue
        end = start + int.from_bytes(data[start : start + 2], "big")
        if end > len(data) or end < start + 2:
            raise Unstripped("the file is cut off")
        if marker == _SOS:
            found = _NEXT_MARKER.search(data, end)
            if found is None:
                raise Unstripped("the file is cut off")
            end = end + len(data[end : found.start()].rstrip(b"\xff"))  # without padding before the marker
        if marker not in _DROPPED:
            kept.append(b"\xff" + bytes([marker]) + data[start:end])
        place = end
    if data[place:] == b"\xff\xd9":
        return b"".join([*kept, b"\xff\xd9"])
    raise Unstripped("the file is cut off")


def _marker(data: bytes, place: int) -> tuple[int, int]:
    """The marker at a place and where what follows it begins; padding with FF is passed over."""
    if data[place] != 0xFF:
        raise Unstripped("the file is broken between its segments")
    while place < len(data) and data[place] == 0xFF:
        place += 1
    if place == len(data):
        raise Unstripped("the file is cut off")
    return data[place], place + 1
