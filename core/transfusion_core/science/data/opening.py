"""Opens every file of a listing: read here, decoded by processes apart, several at once, told in their order."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from transfusion_core.errors import DataError
from transfusion_core.science.data.ahead import ahead
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import Look, UnreadableImage
from transfusion_core.science.data.pixels import Square
from transfusion_core.science.data.resizing import squared
from transfusion_core.science.data.samples import Listing, Sample
from transfusion_core.science.data.signatures import DICOM_SUFFIXES, is_dicom
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import FileFault

GROUP = 4
"""Files that a thread takes at once."""


@dataclass(frozen=True)
class Opened:
    """A sample whose file was read and found whole."""

    sample: Sample
    look: Look
    data: bytes
    """Its picture alone."""
    hash: bytes
    """sha256 of the file as it came."""
    squares: list[Square]
    """Its pixels at each of the sizes that were asked for."""


def open_samples(
    listing: Listing, tree: Tree, *, burned_in: bool, sizes: Sequence[int], threads: int
) -> Iterator[Opened | FileFault]:
    """Each sample, opened or with what is wrong with it. `burned_in`: see `Decoders.clean`."""
    with Decoders() as decoders:

        def opened(read: tuple[Sample, bytes | DataError]) -> Opened | FileFault:
            sample, data = read
            if isinstance(data, DataError):
                return _fault(sample, str(data))
            try:
                look, kept, squares = cleaned(data)
            except UnreadableImage as error:
                return _fault(sample, _named(sample, data) or str(error))
            return Opened(sample, look, kept, sample.sha256 or hashlib.sha256(data).digest(), squares)

        def cleaned(data: bytes) -> tuple[Look, bytes, list[Square]]:
            if not sizes:
                found = decoders.check(data, burned_in=burned_in)
                return found.look, found.data, []
            return decoders.clean_with(
                data, lambda pixels: [squared(pixels, size) for size in sizes], burned_in=burned_in
            )

        # Three more, since those who resize have no decoder at work meanwhile: a seventh faster (measured).
        yield from ahead(opened, _read(listing, tree), threads=threads + 3, group=GROUP)


def _read(listing: Listing, tree: Tree) -> Iterator[tuple[Sample, bytes | DataError]]:
    for sample in listing.samples:
        try:
            yield sample, tree.read(sample.file)
        except DataError as error:
            yield sample, error


def _fault(sample: Sample, message: str) -> FileFault:
    return FileFault(file=sample.file, row=sample.row, message=message)


def _named(sample: Sample, data: bytes) -> str | None:
    """A better word for a file that is called DICOM and is none."""
    called = PurePosixPath(sample.file).suffix.lower() in DICOM_SUFFIXES
    if called and data and not is_dicom(data):
        return "expected DICOM, got a file without its preamble and the letters DICM"
    return None
