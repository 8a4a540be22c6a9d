"""JPEG and PNG files without what they hold besides the picture: EXIF, comments, places, names, thumbnails, appendices.

The coded picture is copied byte for byte, so that its pixels stay what they are and nothing is coded anew.
"""

import re

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
"""Of a PNG: all that its pixels depend on."""
_EOI, _SOS, _APP0, _APP14 = 0xD9, 0xDA, 0xE0, 0xEE
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})
"""JPEG markers without a length."""
_DROPPED = frozenset(range(0xE0, 0xFF))
"""APP0 to APP15, comments and reserved ones; of APP0 (JFIF) and APP14 (Adobe) is kept what says what colours mean."""
_JFIF_BYTES, _ADOBE_BYTES = 14, 12
"""Of their headers; decoders pass over shorter ones."""
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
    kept, place, jfif = [data[:2]], 2, b""
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
        if marker == _APP0 and not jfif:
            jfif = _jfif(data[start + 2 : end])
            kept.append(jfif)
        elif marker == _APP14:
            kept.append(_adobe(data[start + 2 : end]))
        elif marker not in _DROPPED:
            kept.append(b"\xff" + bytes([marker]) + data[start:end])
        place = end
    if data[place:] == b"\xff\xd9":
        return b"".join([*kept, b"\xff\xd9"])
    raise Unstripped("the file is cut off")


def _jfif(payload: bytes) -> bytes:
    """An APP0 segment that says JFIF, its version, units and densities, and no thumbnail; empty where it says other
    things, such as a JFXX thumbnail.
    """
    if not payload.startswith(b"JFIF\0") or len(payload) < _JFIF_BYTES:
        return b""
    return b"\xff\xe0" + (_JFIF_BYTES + 2).to_bytes(2, "big") + payload[: _JFIF_BYTES - 2] + bytes(2)


def _adobe(payload: bytes) -> bytes:
    """An APP14 segment that says Adobe's transform of colours, as libjpeg writes it; empty where it says none."""
    if not payload.startswith(b"Adobe") or len(payload) < _ADOBE_BYTES:
        return b""
    return b"\xff\xee" + (_ADOBE_BYTES + 2).to_bytes(2, "big") + b"Adobe\0\x64\0\0\0\0" + payload[11:12]


def _marker(data: bytes, place: int) -> tuple[int, int]:
    """The marker at a place and where what follows it begins; padding with FF is passed over."""
    if data[place] != 0xFF:
        raise Unstripped("the file is broken between its segments")
    while place < len(data) and data[place] == 0xFF:
        place += 1
    if place == len(data):
        raise Unstripped("the file is cut off")
    return data[place], place + 1
