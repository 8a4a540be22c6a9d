"""Opens every file of a listing: read here, decoded by processes apart, several at once, told in their order."""

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath

from transfusion_core.errors import DataError
from transfusion_core.science.data.decoders import Decoders
from transfusion_core.science.data.images import Cleaned, UnreadableImage
from transfusion_core.science.data.samples import Listing, Sample
from transfusion_core.science.data.signatures import DICOM_SUFFIXES, is_dicom
from transfusion_core.science.data.tree import Tree
from transfusion_core.specs.dataset import FileFault


@dataclass(frozen=True)
class Opened:
    """A sample whose file was read and found whole."""

    sample: Sample
    cleaned: Cleaned
    hash: bytes
    """sha256 of the file as it came."""

    def order(self) -> tuple[bytes, str, str, str]:
        """Sorts by content, so that names and the order on disk do not matter."""
        return self.hash, repr(self.sample.label), self.sample.split or "", self.sample.patient or ""


def open_samples(listing: Listing, tree: Tree, *, burned_in: bool, threads: int) -> Iterator[Opened | FileFault]:
    """Each sample, opened or with what is wrong with it. `burned_in`: see `Decoders.clean`."""
    waiting: deque[Future[Opened | FileFault]] = deque()
    with Decoders() as decoders, ThreadPoolExecutor(max_workers=threads) as pool:

        def opened(sample: Sample, data: bytes) -> Opened | FileFault:
            try:
                cleaned = decoders.clean(data, burned_in=burned_in)
            except UnreadableImage as error:
                return _fault(sample, _named(sample, data) or str(error))
            return Opened(sample, cleaned, sample.sha256 or hashlib.sha256(data).digest())

        for sample in listing.samples:
            try:
                data = tree.read(sample.file)
            except DataError as error:
                waiting.append(pool.submit(_fault, sample, str(error)))
            else:
                waiting.append(pool.submit(opened, sample, data))
            if len(waiting) > 2 * threads:  # not more files in memory than are decoded next
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _fault(sample: Sample, message: str) -> FileFault:
    return FileFault(file=sample.file, row=sample.row, message=message)


def _named(sample: Sample, data: bytes) -> str | None:
    """A better word for a file that is called DICOM and is none."""
    called = PurePosixPath(sample.file).suffix.lower() in DICOM_SUFFIXES
    if called and data and not is_dicom(data):
        return "expected DICOM, got a file without its preamble and the letters DICM"
    return None
