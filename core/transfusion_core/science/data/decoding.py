"""The program that decodes images: `python -m transfusion_core.science.data.decoding images|dicom`, shut in.

It is asked by `decoders.py`: to clean a file, to look at its pixels, or for its pixels at one size. DICOM has a process
of its own, since its library takes long to import.
"""

import io
import sys
from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from transfusion_core.science.answering import Refused, serve
from transfusion_core.science.data.images import FORMATS, UnreadableImage, as_png, clean, decode, look_at, square
from transfusion_core.science.frames import Frame
from transfusion_core.science.isolation import Limits

PROGRAM = "transfusion_core.science.data.decoding"
MEMORY_BYTES = 3 << 29
"""The largest image with transparency takes a gigabyte on its way to RGB."""
CPU_SECONDS = 1800.0
"""Of one process, for all its images; a new one takes over long before."""


def main() -> None:
    """Answer with pictures until nobody asks any more."""
    kind = sys.argv[1]
    _warm_up()
    if kind == "dicom":
        _warm_up_dicom()
    serve(_answer, limits=Limits(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS, file_bytes=1 << 16))


def _answer(question: Frame) -> Iterator[Frame]:
    try:
        yield _answered(question)
    except UnreadableImage as error:
        raise Refused(str(error)) from error


def _answered(question: Frame) -> Frame:
    asked = question.head["ask"]
    if asked == "dicom":
        return _dicom(question)
    if asked == "clean":
        cleaned = clean(question.data)
        return Frame(vars(cleaned.look), cleaned.data)
    image = decode(question.data)
    if asked == "square":
        return Frame({}, np.ascontiguousarray(square(image, question.head["size"])).tobytes())
    return Frame({"width": image.width, "height": image.height}, image.tobytes())


def _dicom(question: Frame) -> Frame:
    from transfusion_core.science.data.dicom import read_dicom

    image = read_dicom(question.data, burned_in=question.head["burned_in"])
    look = look_at(image)
    return Frame(vars(look), as_png(image, grey=look.grey))


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
