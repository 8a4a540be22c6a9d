"""DICOM files in, 8-bit pictures out: which are taken, and how stored values become grey or colour.

Only the elements of `NEEDED` and `PALETTE` are read at all; nothing but the picture leaves this module, so that no
name, date or number of a patient can. Rules, part of what a dataset's digest stands for: stored values are rescaled
(slope and intercept, or a modality table); then the first window of the file is applied, else its VOI table, else the
range from the smallest to the largest value of the image; MONOCHROME1 is inverted. Colours are RGB, YBR (made RGB) or
a palette.

Only a process apart (`decoding.py`) opens a stranger's file by this module.
"""

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from PIL import Image
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi

from transfusion_core.science.data.images import UnreadableImage, check_size, sixteen_to_eight

NEEDED = (
    "TransferSyntaxUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "RescaleSlope",
    "RescaleIntercept",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "ModalityLUTSequence",
    "BurnedInAnnotation",
)
"""All elements that are read, besides those of a palette."""
PALETTE = tuple(
    f"{segmented}{colour}PaletteColorLookupTable{part}"
    for colour in ("Red", "Green", "Blue")
    for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
)
SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.51": "JPEG Extended, of 8 bits",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
"""What Pillow and pydicom read by themselves."""
DEFLATED = "1.2.840.10008.1.2.1.99"
_META_AT = 132
"""After an empty preamble and the letters DICM."""
_GREY, _COLOUR = ("MONOCHROME1", "MONOCHROME2"), ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_LONG = (b"OB", b"OW", b"UN", b"SQ", b"UT")
"""Kinds of element whose length takes four bytes, after two empty ones."""


def read_dicom(data: bytes, *, burned_in: bool) -> Image.Image:
    """The RGB picture of a DICOM file. `burned_in`: take one that says that text is burned into it.

    Raises UnreadableImage, or whatever pydicom raises for a broken file.
    """
    _check_syntax(transfer_syntax(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of much that does no harm
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        held = pydicom.dcmread(io.BytesIO(data), specific_tags=[*NEEDED, *PALETTE])
        _check(held, burned_in=burned_in)
        return Image.fromarray(_pixels(held)).convert("RGB")


def transfer_syntax(data: bytes) -> str | None:
    """How the file is coded, read before anything is inflated; None where it does not say."""
    place = _META_AT
    while data[place : place + 2] == b"\x02\x00":
        if data[place + 4 : place + 6] in _LONG:
            start, length = place + 12, int.from_bytes(data[place + 8 : place + 12], "little")
        else:
            start, length = place + 8, int.from_bytes(data[place + 6 : place + 8], "little")
        if data[place + 2 : place + 4] == b"\x10\x00":
            return data[start : start + min(length, 64)].decode("ascii", "replace").rstrip("\0 ")
        place = start + length
    return None


def _check_syntax(syntax: str | None) -> None:
    if syntax is None:
        raise UnreadableImage("the DICOM file does not say how it is coded (its transfer syntax)")
    if syntax == DEFLATED:
        raise UnreadableImage("the DICOM file is deflated, which is not taken: save it without")
    if syntax not in SYNTAXES:
        raise UnreadableImage(f"the DICOM file is coded by {syntax!r}: expected one of {', '.join(SYNTAXES.values())}")


def _check(held: pydicom.Dataset, *, burned_in: bool) -> None:
    if "PixelData" not in held:
        raise UnreadableImage("the DICOM file has no pixels")
    frames = str(held.get("NumberOfFrames") or 1)
    if frames != "1":
        raise UnreadableImage(f"the DICOM file has {frames} frames: expected one; save each as a file of its own")
    if str(held.get("BurnedInAnnotation", "")).strip().upper() == "YES" and not burned_in:
        raise UnreadableImage("the DICOM file says that text is burned into its pixels: mask it, or set burned_in")
    check_size(int(held.get("Columns") or 0), int(held.get("Rows") or 0))
    if int(held.get("BitsAllocated") or 0) not in (8, 16, 32):
        raise UnreadableImage(f"the DICOM file has {held.get('BitsAllocated')} bits a pixel: expected 8, 16 or 32")


def _pixels(held: pydicom.Dataset) -> NDArray[np.uint8]:
    """uint8 (h, w), or (h, w, 3)."""
    kind = str(held.get("PhotometricInterpretation", ""))
    if kind not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        raise UnreadableImage(f"the DICOM file's pixels are {kind!r}, which is not taken")
    stored: NDArray[Any] = held.pixel_array
    if stored.shape[:2] != (held.Rows, held.Columns) or stored.ndim != (3 if kind in _COLOUR else 2):
        raise UnreadableImage(f"the DICOM file's pixels have the shape {stored.shape}, not the one that it states")
    if kind in _GREY:
        shades = _shades(held, stored)
        return 255 - shades if kind == "MONOCHROME1" else shades
    coloured = apply_color_lut(stored, held) if kind == "PALETTE COLOR" else stored
    if coloured.dtype == np.uint8:
        return coloured
    if coloured.dtype != np.uint16:
        raise UnreadableImage(f"the DICOM file's colours are {coloured.dtype}: expected 8 or 16 bits")
    return sixteen_to_eight(coloured)


def _shades(held: pydicom.Dataset, stored: NDArray[Any]) -> NDArray[np.uint8]:
    values = apply_modality_lut(stored, held)
    if held.get("WindowCenter") is not None and held.get("WindowWidth") is not None:
        shares = _windowed(held, values.astype(np.float32))
    elif "VOILUTSequence" in held:
        looked_up = apply_voi(values, held, index=0)
        shares = looked_up.astype(np.float32) / (2 ** int(held.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        low, high = float(values.min()), float(values.max())
        shares = (values.astype(np.float32) - low) / max(high - low, 1e-30)
    if not bool(np.isfinite(shares).all()):
        raise UnreadableImage("the DICOM file's rescaling makes numbers that are not finite")
    return np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)


def _windowed(held: pydicom.Dataset, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values inside the first window as shares of it: DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    center, width = _first(held.WindowCenter), _first(held.WindowWidth)
    function = str(held.get("VOILUTFunction") or "LINEAR")
    if (width < 1 and function == "LINEAR") or width <= 0:
        raise UnreadableImage(f"the DICOM file's window is {width:g} wide")
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -80, 80))), np.float32)
    if function == "LINEAR_EXACT":
        return (values - np.float32(center)) / np.float32(width) + np.float32(0.5)
    return (values - np.float32(center - 0.5)) / np.float32(max(width - 1, 1e-6)) + np.float32(0.5)


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)
