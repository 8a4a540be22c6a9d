"""Which files are images, and how each mode becomes RGB."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from transfusion_core.science.data import images
from transfusion_core.science.data.images import UnreadableImage, clean, decode, narrowed, pixels_of


def _saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _pixel(image: Image.Image) -> tuple[int, ...]:
    return tuple(pixels_of(decode(_saved(image)))[0, 0].tolist())


def test_an_empty_file_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="empty"):
        clean(b"")


def test_text_called_png_is_unreadable() -> None:
    with pytest.raises(UnreadableImage, match="not an image of the formats PNG"):
        clean(b"this is not a picture")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "BMP", "WEBP"])
def test_a_truncated_image_is_unreadable(png, form: str) -> None:
    data = png(form=form, size=(64, 64))
    assert clean(data).look.width == 64
    with pytest.raises(UnreadableImage):
        clean(data[: len(data) // 2])


def test_a_format_that_is_not_listed_is_unreadable(png) -> None:
    with pytest.raises(UnreadableImage, match="formats"):
        clean(png(form="GIF"))


def test_pixels_beyond_the_limit_are_refused_before_decoding(png, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 63)
    with pytest.raises(UnreadableImage, match="8 x 8 pixels are more than 63"):
        clean(png())


def test_a_decompression_bomb_is_refused() -> None:
    header = _saved(Image.new("L", (1, 1)))
    size = (20_000).to_bytes(4, "big") * 2
    chunk = b"IHDR" + size + header[24:29]
    bomb = header[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + header[33:]
    with pytest.raises(UnreadableImage):
        clean(bomb)


def test_sixteen_bit_grey_is_divided_by_257() -> None:
    for value, byte in ((0, 0), (257, 1), (65_535, 255), (128, 0), (129, 1)):
        assert _pixel(Image.fromarray(np.full((2, 2), value, np.uint16))) == (byte,)


def test_floating_point_pixels_are_refused() -> None:
    with pytest.raises(UnreadableImage, match="no stated range"):
        clean(_saved(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize(
    ("image", "pixel"),
    [
        (Image.new("L", (2, 2), 7), (7,)),
        (Image.new("1", (2, 2), 1), (255,)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (2, 2), (10, 20, 30, 0)), (0,)),
        (Image.new("LA", (2, 2), (9, 255)), (9,)),
        (Image.new("RGB", (2, 2), (1, 2, 3)).convert("P"), None),
    ],
)
def test_every_mode_becomes_rgb_or_grey(image: Image.Image, pixel: tuple[int, ...] | None) -> None:
    found = _pixel(image)
    assert len(found) in (1, 3)
    assert pixel is None or found == pixel


def test_orientation_is_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode(_saved(Image.new("RGB", (4, 2)), "JPEG", exif=exif)).size == (4, 2)


def test_grey_is_what_is_seen_not_what_the_mode_says(png) -> None:
    assert clean(png(grey=True)).look.grey
    grey = Image.new("RGB", (8, 8), (5, 5, 5))
    assert clean(_saved(grey)).pixels.shape == (8, 8, 1)
    grey.putpixel((7, 0), (5, 5, 6))
    assert clean(_saved(grey)).pixels.shape == (8, 8, 3)
    assert not clean(png()).look.grey


def _coded(size: tuple[int, int], mode: str, **options: object) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    smooth = Image.fromarray(noise).resize((size[0] * 3, size[1] * 3)).crop((0, 0, *size)).convert(mode)
    stream = io.BytesIO()
    smooth.save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [
    {"quality": 60}, {"quality": 95, "subsampling": 0}, {"subsampling": 1}, {"subsampling": 2, "progressive": True},
    {"quality": 20, "optimize": True}, {"restart_marker_blocks": 3},
])  # fmt: skip
@pytest.mark.parametrize("size", [(64, 48), (33, 17), (1, 1)])
def test_a_quick_jpeg_has_pillows_pixels(mode: str, options: dict[str, object], size: tuple[int, int]) -> None:
    data = _coded(size, mode, **options)
    quick = images._quick_jpeg(data)
    assert quick is not None
    np.testing.assert_array_equal(narrowed(quick), pixels_of(decode(data)))


def test_what_the_quick_decoder_will_not_have_is_pillows_to_say(png) -> None:
    data = _coded((64, 48), "RGB")
    cmyk = _coded((64, 48), "CMYK")
    for refused in (cmyk, data[: len(data) // 2], data[:3], png(0)):
        assert images._quick_jpeg(refused) is None
    np.testing.assert_array_equal(clean(cmyk).pixels, pixels_of(decode(cmyk)))
    with pytest.raises(UnreadableImage, match="broken"):
        clean(data[: len(data) // 2])
