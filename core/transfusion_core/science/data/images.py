"""Image files in, pixels out: which formats are taken, how large, and how every mode becomes RGB.

Rules, part of what a dataset's digest stands for: EXIF (orientation too) is dropped; 16-bit grey v becomes
round(v / 257); transparency is laid over black; grey is repeated to three channels; resizing is Pillow's
antialiased bilinear to a square, without regard to the aspect ratio.
"""

import io
import struct
import warnings
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
MAX_PIXELS = 64_000_000
RULES = 1
"""Raised when the rules above change: it is part of the names of cached pixels."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Warning, Image.DecompressionBombError)
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


def inspect(data: bytes) -> Look:
    """Decode an untrusted file wholly, so that it can be trusted later.

    Not thread-safe: warnings are made errors meanwhile.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(data)
    return Look(width=image.width, height=image.height, grey=is_grey(np.asarray(image)))


def is_grey(pixels: NDArray[np.uint8]) -> bool:
    """Are the channels, the last axis, equal everywhere."""
    first = pixels[..., 0]  # planes, since numpy is slow along a last axis of 3
    return all(bool((pixels[..., other] == first).all()) for other in range(1, pixels.shape[-1]))


def decode(data: bytes) -> Image.Image:
    """The RGB image in `data`. Raises UnreadableImage."""
    if not data:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnreadableImage(f"{image.width} x {image.height} pixels are more than {MAX_PIXELS}")
            return _rgb(image)
    except UnreadableImage:
        raise
    except _BROKEN as error:
        raise UnreadableImage(_reason(error)) from error


def square(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The image resized to (3, size, size)."""
    fitting = image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(fitting).transpose(2, 0, 1)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"not an image of the formats {', '.join(FORMATS)}"
    return f"the image is broken: {error}"


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels have no stated range")
    if image.mode.startswith("I"):
        wide = np.clip(np.asarray(image).astype(np.int64), 0, 65_535)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over).convert("RGB")
    return image.convert("RGB")
