"""The program that decodes images: `python -m transfusion_core.science.data.decoding images|dicom`, shut in.

It is asked by `decoders.py`: to clean a file, for its pixels, or for both. DICOM has a process of its own, since its
library takes long to import.
"""

import io
import mmap
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from transfusion_core.science.answering import Refused, serve
from transfusion_core.science.data.images import (
    FORMATS,
    Cleaned,
    UnreadableImage,
    clean,
    cleaned,
    pixels_in_file,
    pixels_of,
)
from transfusion_core.science.frames import Frame
from transfusion_core.science.isolation import Limits

PROGRAM = "transfusion_core.science.data.decoding"
MEMORY_BYTES = 3 << 29
"""The largest image with transparency takes a gigabyte on its way to RGB."""
CPU_SECONDS = 1800.0
"""Of one process, for all its images; a new one takes over long before."""
SHARED_BYTES = 16 << 20
"""Of memory that this process and the asker both see: the pixels of a usual image."""
SHARED = "shared"
"""In the head of an answer whose pixels lie there."""


def main() -> None:
    """Answer with pictures until nobody asks any more."""
    kind, shared = sys.argv[1], mmap.mmap(int(sys.argv[2]), SHARED_BYTES)
    _warm_up()
    if kind == "dicom":
        _warm_up_dicom()
    serve(
        partial(_answer, shared=shared),
        limits=Limits(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=1 << 16),
    )


def _answer(question: Frame, *, shared: mmap.mmap) -> Iterator[Frame]:
    try:
        yield _answered(question, shared)
    except UnreadableImage as error:
        raise Refused(str(error)) from error


def _answered(question: Frame, shared: mmap.mmap) -> Frame:
    asked, data = question.head["ask"], bytes(question.data)
    if asked == "pixels":
        pixels = pixels_in_file(data)
        height, width, channels = pixels.shape
        return _with_pixels({"width": width, "height": height, "grey": channels == 1}, b"", pixels, shared)
    found = _dicom(data, burned_in=question.head["burned_in"]) if asked == "dicom" else clean(data)
    head = vars(found.look) | {"kept": len(found.data)}
    return _with_pixels(head, found.data, found.pixels, shared) if question.head["pixels"] else Frame(head, found.data)


def _with_pixels(head: dict[str, Any], data: bytes, pixels: NDArray[np.uint8], shared: mmap.mmap) -> Frame:
    if pixels.nbytes > SHARED_BYTES:
        return Frame(head, data + pixels.tobytes())
    np.copyto(np.frombuffer(shared, np.uint8, pixels.size).reshape(pixels.shape), pixels)
    return Frame(head | {SHARED: True}, data)


def _dicom(data: bytes, *, burned_in: bool) -> Cleaned:
    from transfusion_core.science.data.dicom import read_dicom

    return cleaned(pixels_of(read_dicom(data, burned_in=burned_in)))


def _warm_up() -> None:
    """Import what is imported at the first image of a format: no file can be opened later."""
    Image.init()
    for form in FORMATS:
        if form == "WEBP" and not features.check("webp"):
            continue
        stream = io.BytesIO()
        Image.new("RGB", (2, 2)).save(stream, form)
        clean(stream.getvalue())


def _warm_up_dicom() -> None:
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage

    from transfusion_core.science.data.dicom import SYNTAXES, read_dicom

    for syntax in SYNTAXES:
        get_decoder(syntax)
    smallest = pydicom.Dataset()
    smallest.file_meta = pydicom.dataset.FileMetaDataset()
    smallest.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    smallest.SOPClassUID, smallest.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    smallest.Rows = smallest.Columns = smallest.SamplesPerPixel = 1
    smallest.BitsAllocated = smallest.BitsStored = 8
    smallest.HighBit, smallest.PixelRepresentation, smallest.PhotometricInterpretation = 7, 0, "MONOCHROME2"
    smallest.RescaleSlope, smallest.RescaleIntercept, smallest.WindowCenter, smallest.WindowWidth = 1, 0, 2, 4
    smallest.PixelData = b"\1\0"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, smallest, enforce_file_format=True)
    read_dicom(stream.getvalue(), burned_in=False)


if __name__ == "__main__":
    main()
