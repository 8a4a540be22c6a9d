"""Files in the place of images: cut, lying about their size, of formats that are not taken, and no images at all."""

import io
import random
import struct
import zlib

from PIL import Image

from corpus import Case

FORMS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAGICS = {
    "PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff\xe0", "TIFF": b"II*\0", "BMP": b"BM",
    "WEBP": b"RIFF\0\0\0\0WEBP",
}  # fmt: skip
OTHERS = {
    "gif": b"GIF89a\1\0\1\0\0\0\0;", "ico": b"\0\0\1\0\1\0", "cur": b"\0\0\2\0\1\0", "ppm": b"P6 1 1 255 abc",
    "pgm": b"P5 1 1 255 a", "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "psd": b"8BPS\0\1",
    "pdf": b"%PDF-1.7",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "html": b"<html>",
    "elf": b"\x7fELF",
    "exe": b"MZ\x90", "script": b"#!/bin/sh\nmkdir hostile-input-ran\n", "php": b"<?php system('id');",
    "zip": b"PK\3\4",
    "heic": b"\0\0\0\x18ftypheic", "avif": b"\0\0\0\x1cftypavif", "mp4": b"\0\0\0\x20ftypisom",
    "jp2": b"\0\0\0\x0cjP  \r\n\x87\n",
    "tga": bytes(18), "pcx": b"\n\5\1\1", "sgi": b"\1\xda", "fits": b"SIMPLE  =", "dds": b"DDS |", "icns": b"icns",
    "wmf": b"\xd7\xcd\xc6\x9a", "text": b"this is not a picture", "empty": b"", "nul": bytes(100),
    "lfs": b"version https://git-lfs",
    "pickle": b"\x80\x04\x95", "nifti": b"\x5c\1\0\0" + bytes(340) + b"n+1\0", "xml": b"<?xml version='1.0'?>",
}  # fmt: skip
SIZES = [
    (0, 1),
    (1, 0),
    (0, 0),
    (2**31 - 1, 1),
    (1, 2**31 - 1),
    (65_535, 65_535),
    (8_001, 8_000),
    (40_000, 1),
    (1, 40_000),
]


def images() -> list[Case]:
    """Bytes of files in a dataset."""
    return [
        *(
            Case(
                f"{form} cut at {part}/8", lambda form=form, part=part: _cut(form, part), "broken|not an image|cut off"
            )
            for form in FORMS
            for part in range(1, 8)
        ),
        *(Case(f"a {name}", lambda data=data: data, "not an image|is empty") for name, data in OTHERS.items()),
        *(Case(f"PNG of {size}", lambda size=size: _png(size), "broken|pixels|not an image") for size in SIZES),
        *(Case(f"BMP of {size}", lambda size=size: _bmp(size), "broken|pixels|not an image") for size in SIZES),
        *(Case(f"JPEG of {size}", lambda size=size: _jpeg(size), "broken|pixels|not an image") for size in JPEG_SIZES),
        *(
            Case(
                f"{form} of noise {seed}",
                lambda form=form, seed=seed: _noise(form, seed),
                "broken|not an image|pixels|pictures",
            )
            for form in FORMS
            for seed in range(25)
        ),
        *(
            Case(f"PNG with bad {kind}", lambda kind=kind: _bad_chunk(kind), "broken|not an image")
            for kind in ("IHDR", "IDAT")
        ),
        Case("PNG without IDAT", lambda: _png((2, 2), data=None), "broken"),
        Case("PNG with short IDAT", lambda: _png((2, 2), data=b"\0"), "broken"),
        Case("PNG that inflates", lambda: _png((2, 2), data=bytes(1 << 24), kind=b"zTXt"), "broken"),
        Case("floats", lambda: _saved(Image.new("F", (2, 2)), "TIFF"), "no stated range"),
        *(
            Case(f"two pictures in {form}", lambda form=form: _pair(form), "holds 2 pictures")
            for form in ("TIFF", "WEBP")
        ),
    ]


JPEG_SIZES = [(0, 1), (1, 0), (0, 0), (65_535, 65_535), (8_001, 8_000), (40_000, 1), (1, 40_000)]


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _picture() -> Image.Image:
    return Image.frombytes("RGB", (32, 32), random.Random(0).randbytes(3 * 32 * 32))


def _cut(form: str, part: int) -> bytes:
    whole = _saved(_picture(), form)
    return whole[: len(whole) * part // 8]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(size: tuple[int, int], *, data: bytes | None = bytes(100), kind: bytes = b"IDAT") -> bytes:
    body = b"" if data is None else _chunk(kind, zlib.compress(data))
    return MAGICS["PNG"] + _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)) + body + _chunk(b"IEND", b"")


def _bmp(size: tuple[int, int]) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, *size, 1, 24, 0, 100, 0, 0, 0, 0) + bytes(100)


def _jpeg(size: tuple[int, int]) -> bytes:
    whole = bytearray(_saved(_picture(), "JPEG"))
    at = whole.index(b"\xff\xc0") + 5
    whole[at : at + 4] = struct.pack(">HH", size[1], size[0])
    return bytes(whole)


def _noise(form: str, seed: int) -> bytes:
    return MAGICS[form] + random.Random(seed).randbytes(600)


def _bad_chunk(kind: str) -> bytes:
    whole = bytearray(_saved(_picture(), "PNG"))
    whole[whole.index(kind.encode()) + 6] ^= 0xFF
    return bytes(whole)


def _pair(form: str) -> bytes:
    other = Image.new("RGB", (32, 32))
    return _saved(_picture(), form, save_all=True, append_images=[other])
