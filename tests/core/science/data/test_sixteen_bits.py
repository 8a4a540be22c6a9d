"""What becomes of pixels with 16 bits, in files made here byte for byte: Pillow writes no 16-bit colours."""

import struct
import zlib
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from transfusion_core.science.data.images import UnreadableImage, clean

Order = Literal["<", ">"]
VALUES = np.array([0, 1, 128, 129, 255, 256, 257, 385, 386, 32_767, 32_768, 65_278, 65_279, 65_534, 65_535], np.uint16)
ROUNDED = np.round(VALUES / 257).astype(np.uint8)
HIGH = (VALUES // 256).astype(np.uint8)
GREY, GREY_ALPHA, RGB, RGBA = 1, 2, 3, 4


def picture(channels: int) -> NDArray[np.uint16]:
    """Three rows of the values, (3, n, c): another order in each colour, opaque where there is transparency."""
    pixels = np.stack([np.roll(VALUES, channel) for channel in range(channels)], -1)
    if channels in (GREY_ALPHA, RGBA):
        pixels[..., -1] = 65_535
    return np.repeat(pixels[None], 3, 0)


def expected(bytes_of_values: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    colours = 1 if channels in (GREY, GREY_ALPHA) else 3
    return np.repeat(np.stack([np.roll(bytes_of_values, colour) for colour in range(colours)], -1)[None], 3, 0)


def png(pixels: NDArray[np.uint16]) -> bytes:
    height, width, channels = pixels.shape
    kind = {GREY: 0, GREY_ALPHA: 4, RGB: 2, RGBA: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def tiff(
    pixels: NDArray[np.uint16],
    order: Order,
    *,
    deflated: bool = False,
    planes: bool = False,
    white_is_zero: bool = False,
) -> bytes:
    """By the TIFF 6.0 specification: one strip, or one of each plane."""
    height, width, channels = pixels.shape
    parts = [pixels[..., channel] for channel in range(channels)] if planes else [pixels]
    strips = [np.ascontiguousarray(part).astype(f"{order}u2").tobytes() for part in parts]
    strips = [zlib.compress(strip) for strip in strips] if deflated else strips
    photometric = 0 if white_is_zero else 1 if channels <= GREY_ALPHA else 2
    tags: dict[int, tuple[str, list[int]]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [16] * channels), 259: ("H", [8 if deflated else 1]),
        262: ("H", [photometric]), 273: ("I", [0] * len(strips)), 277: ("H", [channels]), 278: ("I", [height]),
        279: ("I", [len(strip) for strip in strips]), 284: ("H", [2 if planes else 1]),
    }  # fmt: skip
    if channels in (GREY_ALPHA, RGBA):
        tags[338] = ("H", [2])
    after = 8 + 2 + 12 * len(tags) + 4
    wide = sum(size for kind, values in tags.values() if (size := struct.calcsize(kind) * len(values)) > 4)
    starts = np.cumsum([after + wide, *(len(strip) for strip in strips[:-1])]).tolist()
    tags[273] = ("I", starts)
    entries, more = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            packed, more = struct.pack(f"{order}I", after + len(more)), more + packed
        entries += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}IH", 8, len(tags))
    return head + entries + bytes(4) + more + b"".join(strips)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deflated", [False, True])
def test_grey_is_rounded_alike_in_png_and_in_tiff_of_either_byte_order(order: Order, deflated: bool) -> None:
    for data in (png(picture(GREY)), tiff(picture(GREY), order, deflated=deflated)):
        np.testing.assert_array_equal(clean(data).pixels, expected(ROUNDED, GREY))


@pytest.mark.parametrize("channels", [GREY_ALPHA, RGB, RGBA])
def test_png_with_colours_or_transparency_keeps_the_high_byte(channels: int) -> None:
    np.testing.assert_array_equal(clean(png(picture(channels))).pixels, expected(HIGH, channels))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [RGB, RGBA])
@pytest.mark.parametrize(("deflated", "planes"), [(False, False), (True, False), (True, True)])
def test_tiff_with_colours_keeps_the_high_byte(order: Order, channels: int, deflated: bool, planes: bool) -> None:
    data = tiff(picture(channels), order, deflated=deflated, planes=planes)
    np.testing.assert_array_equal(clean(data).pixels, expected(HIGH, channels))


@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_that_would_be_misread_is_refused(order: Order) -> None:
    with pytest.raises(UnreadableImage, match="not an image of the formats"):
        clean(tiff(picture(GREY_ALPHA), order))
    with pytest.raises(UnreadableImage, match="16-bit colours in separate planes, not compressed"):
        clean(tiff(picture(RGB), order, planes=True))
    for deflated in (False, True):
        with pytest.raises(UnreadableImage, match=r"whose 0 is white|not an image"):
            clean(tiff(picture(GREY), order, white_is_zero=True, deflated=deflated))
