"""DICOM files that lie, hide text, explode or are broken."""

import io
import random
import struct
import warnings
import zlib
from typing import Any

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

from corpus import Case

SYNTAXES = [
    "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.201", "1.2.3", "../../x", "x" * 60,
]  # fmt: skip
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "two frames": ({"NumberOfFrames": 2}, "2 frames"),
    "no frames": ({"NumberOfFrames": -1}, "frames"),
    "a million frames": ({"NumberOfFrames": 1_000_000}, "frames"),
    "burned in": ({"BurnedInAnnotation": "YES"}, "text is burned"),
    "burned in, in small letters": ({"BurnedInAnnotation": "yes "}, "text is burned"),
    "no rows": ({"Rows": 0}, "expected 1 to"),
    "no columns": ({"Columns": None}, "expected 1 to"),
    "65,535 squared": ({"Rows": 65_535, "Columns": 65_535}, "expected 1 to"),
    "64 million pixels and more": ({"Rows": 8_001, "Columns": 8_000}, "are more than"),
    "more rows than pixels": ({"Rows": 100}, "broken"),
    "1 bit": ({"BitsAllocated": 1}, "bits a pixel"),
    "64 bits": ({"BitsAllocated": 64}, "bits a pixel"),
    "more bits than there are": ({"BitsStored": 12}, "broken"),
    "unknown colours": ({"PhotometricInterpretation": "CMYK"}, "is not taken"),
    "colours of code": ({"PhotometricInterpretation": "__IMPORT__"}, "is not taken"),
    "no colours": ({"PhotometricInterpretation": ""}, "is not taken"),
    "RGB of one sample": ({"PhotometricInterpretation": "RGB"}, "broken|shape"),
    "a palette that is missing": ({"PhotometricInterpretation": "PALETTE COLOR"}, "broken"),
    "four samples": ({"SamplesPerPixel": 4}, "broken|shape"),
    "no samples": ({"SamplesPerPixel": 0}, "broken|shape"),
    "signs of a third kind": ({"PixelRepresentation": 7}, "broken"),
    "no pixels": ({"PixelData": None}, "no pixels|broken"),
    "one byte of pixels": ({"PixelData": b"\0\0"}, "broken"),
    "a window of no width": ({"WindowCenter": 1, "WindowWidth": 0}, "window is 0 wide"),
    "a window of less": ({"WindowCenter": 1, "WindowWidth": -5}, "window is -5 wide"),
    "a slope without end": ({"RescaleSlope": "1e308", "RescaleIntercept": "1e308"}, "not finite|broken"),
}


def dicoms() -> list[Case]:
    """Bytes of DICOM files in a dataset."""
    return [
        *(Case(name, lambda changes=changes: dicom(**changes), error) for name, (changes, error) in CHANGES.items()),
        *(Case(f"syntax {syntax}", lambda syntax=syntax: _coded_as(syntax), "is coded by") for syntax in SYNTAXES),
        *(Case(f"cut at {part}/16", lambda part=part: _cut(part), ERRORS) for part in range(9, 16)),
        *(Case(f"noise {seed}", lambda seed=seed: _noise(seed), "does not say how it is coded") for seed in range(20)),
        *(Case(f"coded noise {seed}", lambda seed=seed: _coded_noise(seed), ERRORS) for seed in range(20)),
        Case("deflated bomb", _deflated, "is deflated"),
        Case("a window of a thousand levels", _nested, "broken|no pixels"),
        Case("an element that claims 4 GB", _claiming, ERRORS),
        Case("letters without a preamble", lambda: b"DICM" + bytes(500), "not an image"),
    ]


ERRORS = "broken|no pixels|does not say|bits a pixel|expected 1 to|frames|is not taken"


def dicom(**changes: Any) -> bytes:
    """A good file of 8 x 8 values from 0 to 63, with some elements changed or left out."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    made.Rows = made.Columns = 8
    made.SamplesPerPixel = 1
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation, made.PhotometricInterpretation = 7, 0, "MONOCHROME2"
    made.PixelData = bytes(range(64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom writes what it warns of
        return _written(made, changes)


def _written(made: Dataset, changes: dict[str, Any]) -> bytes:
    for name, value in changes.items():
        if value is None:
            delattr(made, name)
        else:
            setattr(made, name, value)
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, made, enforce_file_format=True)
    return stream.getvalue()


def _coded_as(syntax: str) -> bytes:
    """A file whose head names another syntax; as long as it should be."""
    named = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = b"\x02\x00\x10\x00UI" + struct.pack("<H", len(named)) + named
    return bytes(128) + b"DICM" + meta + bytes(64)


def _cut(part: int) -> bytes:
    whole = dicom()
    return whole[: len(whole) * part // 16]


def _noise(seed: int) -> bytes:
    return bytes(128) + b"DICM" + b"\xfe" + random.Random(seed).randbytes(500)


def _coded_noise(seed: int) -> bytes:
    return _coded_as("1.2.840.10008.1.2.1")[:-64] + random.Random(seed).randbytes(500)


def _deflated() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return _coded_as("1.2.840.10008.1.2.1.99")[:-64] + packer.compress(bytes(50_000_000)) + packer.flush()


def _nested() -> bytes:
    return _coded_as("1.2.840.10008.1.2.1")[:-64] + _sequence(5000)


def _sequence(depth: int) -> bytes:
    """VOI LUT sequences of open length in each other."""
    opened = b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return opened * depth


def _claiming() -> bytes:
    return (
        _coded_as("1.2.840.10008.1.2.1")[:-64] + b"\xe0\x7f\x10\x00OW\0\0" + struct.pack("<I", 0xFFFFFFF0) + bytes(10)
    )
