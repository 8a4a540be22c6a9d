"""Image files in, pixels out: which formats are taken, how large, and how every mode becomes RGB.

Rules, part of what a dataset's digest stands for: EXIF (orientation too), colour profiles and gamma are dropped; 16-bit
grey v becomes round(v / 257), cut to 0 to 65,535 before where it has a sign or more bits; 16-bit colours, and grey with
transparency, keep their high byte, v // 256, as Pillow reads them; transparency is laid over black; CMYK becomes RGB by
Pillow's plain formula; palettes are looked up; resizing (`resizing.py`) is to a square, without regard to the aspect
ratio. TIFF and WebP files of several pictures are refused; of JPEG and PNG the first is kept. TIFF files that Pillow
would misread are refused: see `_check_tiff`.

Only a process apart (`decoding.py`) opens a stranger's file by this module.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from transfusion_core.science.data.stripping import Unstripped, stripped_jpeg, stripped_png

JPEG = b"\xff\xd8\xff"
JPEG_SPACES = {"YCbCr": "RGB", "Gray": "GRAY"}
"""Of nearly all files, and what becomes of them."""
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAX_PIXELS = 64_000_000
MAX_SIDE = 32_768

_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Warning,
    Image.DecompressionBombError,
    RuntimeError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
)
"""What Pillow raises for bytes that are not a whole image (OSError includes UnidentifiedImageError)."""


class UnreadableImage(ValueError):
    """These bytes are not an image that the platform takes; the message says why."""


@dataclass(frozen=True)
class Look:
    """What an image is like."""

    width: int
    height: int
    grey: bool
    """All three channels are equal in every pixel."""


@dataclass(frozen=True)
class Cleaned:
    """An image and a file that holds it and nothing else."""

    look: Look
    data: bytes
    pixels: NDArray[np.uint8]
    """(h, w, c) as `pixels_of` has them."""


def clean(data: bytes) -> Cleaned:
    """Decode an untrusted file wholly; what is kept of it is its picture, coded as it came or else as PNG.

    Raises UnreadableImage. Not thread-safe: warnings are made errors meanwhile.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bare = _bare(data)
        pixels = pixels_in_file(bare or data)
    return cleaned(pixels, bare)


def cleaned(pixels: NDArray[np.uint8], bare: bytes | None = None) -> Cleaned:
    """Pixels with their look; `bare` is the file that holds them and nothing else, a PNG file unless given."""
    height, width, channels = pixels.shape
    return Cleaned(Look(width=width, height=height, grey=channels == 1), bare or _as_png(pixels), pixels)


def pixels_in_file(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file, uint8 (h, w, c): c is 1 where all are grey, else 3. Raises UnreadableImage."""
    pixels = _quick_jpeg(data) if data.startswith(JPEG) else None
    return pixels_of(decode(data)) if pixels is None else narrowed(pixels)


def _quick_jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """What Pillow gives, to the bit and in half of its time: of ordinary files that the decoder has nothing to say of.

    None for all others: Pillow decides what is to be said of them.
    """
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        check_size(width, height)
        if space not in JPEG_SPACES:
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colorspace=JPEG_SPACES[space], strict=True)
    except _BROKEN:
        return None
    return pixels


def pixels_of(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a decoded image, uint8 (h, w, c): c is 1 where every pixel is grey, else 3."""
    pixels = np.asarray(image)
    return narrowed(pixels if pixels.ndim == 3 else pixels[..., None])


def narrowed(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (h, w, c) without the channels that say nothing: one is left where every pixel is grey."""
    middle = pixels[len(pixels) // 2]  # one row tells nearly all images that are not
    return pixels[..., :1] if all(_equal(part) for part in (middle, pixels)) else pixels


def _equal(pixels: NDArray[np.uint8]) -> bool:
    first = pixels[..., 0]  # planes, since numpy is slow along a last axis of 3
    return all(bool((pixels[..., other] == first).all()) for other in range(1, pixels.shape[-1]))


def _as_png(pixels: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    image_of(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def image_of(pixels: NDArray[np.uint8]) -> Image.Image:
    """The image of pixels (h, w, c), grey or RGB."""
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0]) if pixels.shape[-1] == 1 else pixels)


def decode(data: bytes) -> Image.Image:
    """The image in `data`: grey (`L`) where its file says so, else RGB. Raises UnreadableImage."""
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            check_size(image.width, image.height)
            _check_single(image)
            _check_tiff(image)
            return _plain(image)
    except UnreadableImage:
        raise
    except _BROKEN as error:
        raise UnreadableImage(_reason(error)) from error


def check_size(width: int, height: int) -> None:
    """UnreadableImage for more pixels than are taken, and for none."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise UnreadableImage(f"{width} x {height} pixels: expected 1 to {MAX_SIDE} a side")
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels are more than {MAX_PIXELS}")


def sixteen_to_eight(wide: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """round(v / 257): 65,535 becomes 255."""
    return ((wide.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _bare(data: bytes) -> bytes | None:
    """The file without what is no picture; None for formats that are coded anew."""
    try:
        if data.startswith(JPEG):
            return stripped_jpeg(data)
        return stripped_png(data) if data.startswith(b"\x89PNG\r\n\x1a\n") else None
    except Unstripped as error:
        raise UnreadableImage(f"the image is broken: {error}") from error


def _check_single(image: ImageFile.ImageFile) -> None:
    frames = getattr(image, "n_frames", 1) if image.format != "MPO" else 1
    if frames != 1:
        raise UnreadableImage(f"the file holds {frames} pictures: expected one")


def _check_tiff(image: ImageFile.ImageFile) -> None:
    """Refuse what Pillow takes for something else: bytes of 16-bit planes for pixels, wide negatives for positives."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return
    wide = max(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8
    if (
        wide
        and len(image.getbands()) > 1
        and image.tag_v2.get(TiffImagePlugin.PLANAR_CONFIGURATION) == 2
        and image.tile[0][0] == "raw"
    ):
        raise UnreadableImage("16-bit colours in separate planes, not compressed, are not read")
    if wide and image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        raise UnreadableImage("grey of more than 8 bits whose 0 is white is not read")


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of the formats {', '.join(FORMATS)} or DICOM"
    return f"the image is broken: {error}"


def _plain(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no stated range")
    if image.mode.startswith("I"):
        wide = np.asarray(image)
        narrow = wide if wide.dtype == np.uint16 else np.clip(wide, 0, 65_535).astype(np.uint16)
        return Image.fromarray(sixteen_to_eight(narrow))
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over).convert("RGB")
    if image.mode in ("L", "RGB"):
        image.load()  # `convert` would copy every pixel
        return image
    return image.convert("RGB")
