"""What is left of a file besides its picture: nothing, and the picture is the same."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from transfusion_core.science.data.images import clean, decode
from transfusion_core.science.data.stripping import Unstripped, stripped_jpeg, stripped_png

SECRET = "Doe^Jane 1970-01-01"


def picture(mode: str = "RGB") -> Image.Image:
    shape = (40, 50, len(mode)) if len(mode) > 1 else (40, 50)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode)


def saved(form: str, mode: str = "RGB", **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x010E] = exif[0x013B] = SECRET
    if form == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_text("Patient", SECRET)
        text.add_itxt("More", SECRET, zip=False)
        options["pnginfo"] = text
    stream = io.BytesIO()
    picture(mode).save(stream, form, exif=exif, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("form", "mode", "options"),
    [
        ("JPEG", "RGB", {}),
        ("JPEG", "L", {"comment": SECRET}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "RGB", {"progressive": True, "optimize": True}),
        ("JPEG", "RGB", {"restart_marker_blocks": 1}),
        ("JPEG", "RGB", {"icc_profile": SECRET.encode() * 10}),
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("TIFF", "RGB", {}),
        ("WEBP", "RGB", {"lossless": True}),
    ],
)
def test_words_are_dropped_and_pixels_stay(form: str, mode: str, options: dict[str, object]) -> None:
    data = saved(form, mode, **options)
    cleaned = clean(data + SECRET.encode() if form in ("JPEG", "PNG") else data)
    assert SECRET.encode() in data
    assert SECRET.encode() not in cleaned.data
    np.testing.assert_array_equal(np.asarray(decode(cleaned.data)), np.asarray(decode(data)))
    assert (cleaned.look.width, cleaned.look.height) == (50, 40)


def segment(marker: int, payload: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


JFIF = b"JFIF\0\1\2\1\0\x48\0\x48"
"""Version 1.02, 72 dots per inch."""
THUMBNAIL = (SECRET * 10).encode()[:48]
"""4 x 4 pixels."""


def coded(mode: str, *segments: bytes) -> bytes:
    """A JPEG file with these segments at its beginning, in the place of its own APP0."""
    stream = io.BytesIO()
    picture(mode).save(stream, "JPEG")
    data = stream.getvalue()
    own = 4 + int.from_bytes(data[4:6], "big") if data[3] == 0xE0 else 2
    return data[:2] + b"".join(segments) + data[own:]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize(
    ("segments", "left"),
    [
        ([segment(0xE0, JFIF + b"\4\4" + THUMBNAIL)], [segment(0xE0, JFIF + bytes(2))]),
        ([segment(0xE0, JFIF + bytes(2) + THUMBNAIL)], [segment(0xE0, JFIF + bytes(2))]),
        (
            [segment(0xE0, JFIF + bytes(2)), segment(0xE0, b"JFXX\0\x13\4\4" + THUMBNAIL)],
            [segment(0xE0, JFIF + bytes(2))],
        ),
        (
            [segment(0xE0, SECRET.encode()), segment(0xE0, JFIF + bytes(2)), segment(0xE0, JFIF[:-4] + THUMBNAIL)],
            [segment(0xE0, JFIF + bytes(2))],
        ),
        ([segment(0xE0, b"JFIF\0" + b"Doe^Jane")], []),
        ([segment(0xEE, b"Adobe" + b"Doe^Ja" + b"\1" + THUMBNAIL)], [segment(0xEE, b"Adobe\0\x64\0\0\0\0\1")]),
        ([segment(0xEE, SECRET.encode())], []),
        ([], []),
    ],
)
def test_of_app0_and_app14_nothing_is_kept_but_what_colours_mean(
    mode: str, segments: list[bytes], left: list[bytes]
) -> None:
    data = coded(mode, *segments)
    assert stripped_jpeg(data) == coded(mode, *left)
    assert b"Doe" not in clean(data).data
    before, after = (np.asarray(Image.open(io.BytesIO(each))) for each in (data, clean(data).data))
    np.testing.assert_array_equal(before, after)


def test_what_adobe_says_of_colours_stays_the_last_word() -> None:
    """Without JFIF, its transform says whether colours are RGB (0) or YCbCr (1); the last segment counts."""
    rgb, ycc = (segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform])) for transform in (0, 1))
    pixels = {}
    for name, segments in {"rgb": [rgb], "ycc": [ycc], "again": [rgb, ycc, rgb]}.items():
        data = coded("RGB", *segments)
        pixels[name] = np.asarray(Image.open(io.BytesIO(stripped_jpeg(data))))
        np.testing.assert_array_equal(pixels[name], np.asarray(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(pixels["again"], pixels["rgb"])
    assert (pixels["rgb"] != pixels["ycc"]).any()


def test_a_file_without_words_stays_as_it_is() -> None:
    stream = io.BytesIO()
    picture().save(stream, "JPEG")
    assert stripped_jpeg(stream.getvalue()) == stream.getvalue()
    stream = io.BytesIO()
    picture().save(stream, "PNG")
    assert stripped_png(stream.getvalue()) == stream.getvalue()


def test_what_is_not_built_as_its_format_says_is_refused_wherever_it_is_cut() -> None:
    for form, strip in (("JPEG", stripped_jpeg), ("PNG", stripped_png)):
        stream = io.BytesIO()
        picture("L").resize((8, 8)).save(stream, form)
        whole = stream.getvalue()
        for length in range(8, len(whole) - 2):
            with pytest.raises(Unstripped):
                strip(whole[:length])
    with pytest.raises(Unstripped, match="between its segments"):
        stripped_jpeg(b"\xff\xd8abcdef")
    with pytest.raises(Unstripped):
        stripped_jpeg(b"\xff\xd8\xff\xff\xff\xff")
    assert stripped_jpeg(b"\xff\xd8\xff\x01\xff\xd9") == b"\xff\xd8\xff\xd9"
