"""Images decoded by processes apart: any thread asks, and each question goes to a process that is idle.

Files come from strangers, and what decodes them is large and written in C. A file that kills its process, or keeps it
too long, is unreadable; the next one meets a new process.
"""

import fcntl
import math
import mmap
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import Apart, Died
from transfusion_core.science.data.decoding import PROGRAM, SHARED, SHARED_BYTES
from transfusion_core.science.data.images import Cleaned, Look, UnreadableImage
from transfusion_core.science.data.signatures import is_dicom
from transfusion_core.science.frames import Frame

IMAGE_SECONDS = 60.0
"""The largest image takes a few seconds, on a machine under load some more."""
RENEWED_AFTER_SECONDS = 600.0
"""Of work: long before a process comes to its limit of processor time."""

Made = TypeVar("Made")
Picture = NDArray[np.uint8]
"""(h, w, c), c 1 or 3."""


class Decoders:
    """Processes that decode, started when they are needed: as many as threads ask at once."""

    def __init__(self, *, within_seconds: float = IMAGE_SECONDS) -> None:
        self._within_seconds = within_seconds
        self._idle: dict[str, list[_Decoder]] = {"images": [], "dicom": []}
        self._lock = threading.Lock()
        # A process dies with the thread that started it, and those that ask come and go.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoders")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for decoder in [decoder for idle in self._idle.values() for decoder in idle]:
            decoder.close()
        self._starter.shutdown()

    def clean(self, data: bytes, *, burned_in: bool = False) -> Cleaned:
        """An untrusted file, decoded wholly, its picture alone and its pixels. Raises UnreadableImage.

        `burned_in`: take DICOM files that say that text is burned into their pixels.
        """
        return Cleaned(*self.clean_with(data, np.copy, burned_in=burned_in))

    def clean_with(
        self, data: bytes, use: Callable[[Picture], Made], *, burned_in: bool = False
    ) -> tuple[Look, bytes, Made]:
        """As `clean`, with what `use` makes of the pixels, which are another image's afterwards, in their place."""

        def read(answer: Frame, decoder: _Decoder) -> tuple[Look, bytes, Made]:
            look, kept = _look(answer.head), _whole(answer.head, "kept", most=len(answer.data))
            return look, bytes(answer.data[:kept]), use(_pixels(answer, decoder, look, after=kept))

        return self._ask(*_cleaning(data, burned_in=burned_in, pixels=True), read)

    def check(self, data: bytes, *, burned_in: bool = False) -> Cleaned:
        """As `clean`, where nobody needs the pixels: they are empty."""

        def read(answer: Frame, decoder: _Decoder) -> Cleaned:
            kept = _whole(answer.head, "kept", most=len(answer.data))
            return Cleaned(_look(answer.head), bytes(answer.data[:kept]), np.empty((0, 0, 1), np.uint8))

        return self._ask(*_cleaning(data, burned_in=burned_in, pixels=False), read)

    def pixels(self, data: bytes) -> Picture:
        """A cleaned file's pixels, as large as it came, uint8 (h, w, c): c is 1 where every pixel is grey, else 3."""

        def read(answer: Frame, decoder: _Decoder) -> Picture:
            return np.copy(_pixels(answer, decoder, _look(answer.head), after=0))

        return self._ask("images", Frame({"ask": "pixels"}, data), read)

    def _ask(self, kind: str, question: Frame, read: Callable[[Frame, "_Decoder"], Made]) -> Made:
        decoder = self._borrow(kind)
        try:
            made = read(decoder.ask(question, within_seconds=self._within_seconds), decoder)
        except (Refused, UnreadableImage) as error:
            self._give_back(kind, decoder)
            raise UnreadableImage(str(error)) from error
        except Died as error:
            decoder.close()
            raise UnreadableImage(str(error)) from error
        except BaseException:
            decoder.close()
            raise
        self._give_back(kind, decoder)
        return made

    def _borrow(self, kind: str) -> "_Decoder":
        with self._lock:
            if self._idle[kind]:
                return self._idle[kind].pop()
        return self._starter.submit(_Decoder, kind).result()

    def _give_back(self, kind: str, decoder: "_Decoder") -> None:
        if decoder.busy_seconds > RENEWED_AFTER_SECONDS:
            decoder.close()
            return
        with self._lock:
            self._idle[kind].append(decoder)


class _Decoder(Apart):
    """A process that decodes, and the memory that it shares: pixels that fit lie there, which saves two copies."""

    def __init__(self, kind: str) -> None:
        with memory_to_share() as file:
            self.shared = mmap.mmap(file.fileno(), SHARED_BYTES)
            super().__init__(PROGRAM, kind, str(file.fileno()), holding=[file])


def memory_to_share() -> IO[bytes]:
    """A file in memory whose size nobody changes: to read where another has cut it would be a SIGBUS."""
    file = os.fdopen(os.memfd_create("pixels", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "r+b", buffering=0)
    file.truncate(SHARED_BYTES)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file


def _cleaning(data: bytes, *, burned_in: bool, pixels: bool) -> tuple[str, Frame]:
    """Who is asked, and what."""
    kind, asked = ("dicom", "dicom") if is_dicom(data) else ("images", "clean")
    return kind, Frame({"ask": asked, "burned_in": burned_in, "pixels": pixels}, data)


def _look(head: Mapping[str, Any]) -> Look:
    return Look(width=_whole(head, "width"), height=_whole(head, "height"), grey=head.get("grey") is True)


def _pixels(answer: Frame, decoder: _Decoder, look: Look, *, after: int) -> Picture:
    shape = (look.height, look.width, 1 if look.grey else 3)
    size = math.prod(shape)
    data = memoryview(decoder.shared)[:size] if answer.head.get(SHARED) is True else memoryview(answer.data)[after:]
    if len(data) != size:
        raise UnreadableImage("its decoder answered with another size than it says")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _whole(head: Mapping[str, Any], name: str, *, most: int = 1 << 20) -> int:
    value = head.get(name)
    if not isinstance(value, int) or not 0 < value <= most:
        raise UnreadableImage(f"its decoder answered with {name} {value!r}")
    return value
