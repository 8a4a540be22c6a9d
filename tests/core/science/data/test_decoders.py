"""Images decoded by processes apart, DICOM among them, and what becomes of one that dies."""

import io
import json
import mmap
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from corpus.dicoms import dicom
from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import Apart, Died
from transfusion_core.science.data import decoders as module
from transfusion_core.science.data.decoders import Decoders, memory_to_share
from transfusion_core.science.data.decoding import SHARED_BYTES
from transfusion_core.science.data.images import UnreadableImage, decode, pixels_of
from transfusion_core.science.frames import Frame


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    with Decoders() as made:
        yield made


def shades(data: bytes) -> list[int]:
    return pixels_of(decode(data))[..., 0].flatten().tolist()


def test_a_cleaned_file_gives_the_pixels_that_it_would_give_here(decoders: Decoders, png) -> None:
    data = png(3, size=(20, 10))
    cleaned = decoders.clean(data)
    assert (cleaned.look.width, cleaned.look.height, cleaned.look.grey) == (20, 10, False)
    for pixels in (cleaned.pixels, decoders.pixels(cleaned.data)):
        np.testing.assert_array_equal(pixels, np.asarray(decode(data)))
    checked = decoders.check(data)
    assert (checked.look, checked.data, checked.pixels.size) == (cleaned.look, cleaned.data, 0)
    for ask in (decoders.clean, decoders.check, decoders.pixels):
        with pytest.raises(UnreadableImage, match="not an image"):
            ask(b"text")


def test_dicom_values_become_shades_by_the_stated_rules(decoders: Decoders) -> None:
    def of(**changes: object) -> list[int]:
        return shades(decoders.clean(dicom(**changes)).data)

    values = np.arange(64)
    assert of() == np.rint(values / 63 * 255).astype(int).tolist()
    assert of(PhotometricInterpretation="MONOCHROME1") == [255 - shade for shade in of()]
    window = {"WindowCenter": 32, "WindowWidth": 17}
    expected = np.rint(np.clip((values - 31.5) / 16 + 0.5, 0, 1) * 255)
    np.testing.assert_allclose(of(**window), expected, atol=1)
    exact = np.rint(np.clip((values - 32) / 17 + 0.5, 0, 1) * 255)
    np.testing.assert_allclose(of(**window, VOILUTFunction="LINEAR_EXACT"), exact, atol=1)
    curve = np.rint(255 / (1 + np.exp(-4 * (values - 32) / 17)))
    np.testing.assert_allclose(of(**window, VOILUTFunction="SIGMOID"), curve, atol=1)
    assert of(WindowCenter=[32, 1], WindowWidth=[17, 2]) == of(**window), "the first window"
    rescaled = {"RescaleSlope": 2, "RescaleIntercept": -10, "WindowCenter": 54, "WindowWidth": 33}
    np.testing.assert_allclose(of(**rescaled), np.rint(np.clip((values * 2 - 63.5) / 32 + 0.5, 0, 1) * 255), atol=1)
    assert of(PixelData=bytes([7]) * 64) == [0] * 64, "one value has no range"


def test_a_table_of_values_is_used_where_there_is_no_window(decoders: Decoders) -> None:
    from pydicom import Dataset
    from pydicom.sequence import Sequence

    table = Dataset()
    table.LUTDescriptor, table.LUTData = [64, 0, 8], struct.pack("<64H", *range(0, 256, 4))
    assert shades(decoders.clean(dicom(VOILUTSequence=Sequence([table]))).data) == list(range(0, 256, 4))


def test_nothing_of_a_dicom_file_is_kept_but_its_picture(decoders: Decoders) -> None:
    data = dicom(PatientName="Doe^Jane", PatientID="12345-SECRET", InstitutionName="St. Elsewhere")
    kept = decoders.clean(data).data
    assert b"Doe" in data
    assert kept.startswith(b"\x89PNG")
    assert not any(word in kept for word in (b"Doe", b"SECRET", b"Elsewhere", b"DICM"))


def test_burned_in_text_is_refused_unless_the_spec_takes_it(decoders: Decoders) -> None:
    data = dicom(BurnedInAnnotation="YES")
    with pytest.raises(UnreadableImage, match="mask it, or set burned_in"):
        decoders.clean(data)
    assert decoders.clean(data, burned_in=True).look.grey


BROKEN = {
    "JPGExtended": "12-bit",
    "MR_truncated": "number of bytes of pixel data is less",
    "badVR": "1A frames",
    "examples_ybr_color": "30 frames",
    "image_dfl": "is deflated",
    "meta_missing_tsyntax": "does not say how it is coded",
    "no_meta": "not an image",
}
COLOURED = {
    "ExplVR_BigEnd", "SC_rgb_dcmtk_+eb+cy+np", "SC_rgb_rle_16bit", "examples_jpeg2k",
    "examples_palette", "examples_rgb_color",
}  # fmt: skip


def test_each_real_dicom_file_gives_pixels_or_a_clear_error(
    decoders: Decoders, real_data: Callable[[str], Path]
) -> None:
    files = sorted(real_data("dicom").glob("*.dcm"))
    assert len(files) == 22
    for file in files:
        if file.stem in BROKEN:
            with pytest.raises(UnreadableImage, match=BROKEN[file.stem]):
                decoders.clean(file.read_bytes())
        else:
            cleaned = decoders.clean(file.read_bytes())
            pixels = np.asarray(decode(cleaned.data))
            assert cleaned.look.grey == (file.stem not in COLOURED), file.stem
            assert np.ptp(pixels) > 60, f"{file.stem} has contrast"
    read = {name: shades(decoders.clean((files[0].parent / f"{name}.dcm").read_bytes()).data) for name in SAME}
    assert len({json.dumps(pixels) for pixels in read.values()}) == 1


SAME = ("MR_small", "MR_small_RLE", "MR_small_bigendian", "MR_small_implicit")
"""One image in four codings."""


class Scripted(Apart):
    """A process apart that answers by a list, or dies."""

    def __init__(self, answers: list[Frame | Exception]) -> None:
        self.answers, self.closed, self.busy_seconds, self.shared = answers, False, 0.0, mmap.mmap(-1, 4)

    def ask(self, question: Frame, *, within_seconds: float) -> Frame:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        self.closed = True


def test_a_process_that_dies_costs_its_image_alone_and_lies_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    good = Frame({"width": 1, "height": 1, "grey": True, "kept": 3}, b"pngx")
    grey = {"width": 2, "height": 2, "grey": True}
    scripts = [
        Scripted([good, Died("the process that reads it was killed by SIGSEGV")]),
        Scripted(
            [
                Frame({"width": -1, "height": 1}),
                Frame(grey | {"kept": 9}, b"x"),
                Frame(grey | {"kept": 1}, b"x12345"),
                Frame(grey, b"x"),
                Frame({"width": 3, "height": 2, "grey": True, "kept": 1, "shared": True}, b"x"),
                Refused("no"),
            ]
        ),
    ]
    started = iter(scripts)
    monkeypatch.setattr(module, "_Decoder", lambda *_: next(started))
    with Decoders() as made:
        assert made.clean(b"1").data == b"png"
        with pytest.raises(UnreadableImage, match="killed by SIGSEGV"):
            made.clean(b"2")
        assert scripts[0].closed
        with pytest.raises(UnreadableImage, match="answered with width -1"):
            made.clean(b"3")
        with pytest.raises(UnreadableImage, match="answered with kept 9"):
            made.clean(b"4")
        for ask in (made.clean, made.pixels, made.clean):
            with pytest.raises(UnreadableImage, match="another size than it says"):
                ask(b"5")
        with pytest.raises(UnreadableImage, match="no"):
            made.clean(b"6")
        assert not scripts[1].closed
    assert scripts[1].closed


def test_nobody_cuts_off_memory_that_is_shared() -> None:
    with memory_to_share() as file:
        for size in (0, SHARED_BYTES + 1):
            with pytest.raises(PermissionError):
                file.truncate(size)


def test_pixels_that_do_not_fit_the_shared_memory_come_by_the_socket(decoders: Decoders, png) -> None:
    data = png(1, size=(2600, 2200))
    assert SHARED_BYTES < 2600 * 2200 * 3
    np.testing.assert_array_equal(decoders.clean(data).pixels, np.asarray(decode(data)))


def test_a_process_that_worked_long_is_renewed_before_its_limit(monkeypatch: pytest.MonkeyPatch, png) -> None:
    monkeypatch.setattr(module, "RENEWED_AFTER_SECONDS", 0.0)
    with Decoders() as made:
        first, second = made.clean(png(1)), made.clean(png(1))
        assert made._idle["images"] == []
    assert (first.look, first.data) == (second.look, second.data)


def test_the_largest_image_with_transparency_fits_and_one_that_does_not_is_refused(decoders: Decoders) -> None:
    stream = io.BytesIO()
    Image.new("LA", (8000, 8000)).save(stream, "PNG", compress_level=1)
    assert decoders.clean(stream.getvalue()).look.grey
