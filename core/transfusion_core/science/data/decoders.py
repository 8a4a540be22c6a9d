"""Images decoded by processes apart: any thread asks, and each question goes to a process that is idle.

Files come from strangers, and what decodes them is large and written in C. A file that kills its process, or keeps it
too long, is unreadable; the next one meets a new process.
"""

import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from transfusion_core.science.answering import Refused
from transfusion_core.science.apart import Apart, Died
from transfusion_core.science.data.decoding import PROGRAM
from transfusion_core.science.data.images import Cleaned, Look, UnreadableImage
from transfusion_core.science.data.signatures import is_dicom
from transfusion_core.science.frames import Frame

IMAGE_SECONDS = 60.0
"""The largest image takes a few seconds, on a machine under load some more."""
RENEWED_AFTER_SECONDS = 600.0
"""Of work: long before a process comes to its limit of processor time."""


class Decoders:
    """Processes that decode, started when they are needed: as many as threads ask at once."""

    def __init__(self, *, within_seconds: float = IMAGE_SECONDS) -> None:
        self._within_seconds = within_seconds
        self._idle: dict[str, list[Apart]] = {"images": [], "dicom": []}
        self._lock = threading.Lock()
        # A process dies with the thread that started it, and those that ask come and go.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="decoders")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for apart in [apart for idle in self._idle.values() for apart in idle]:
            apart.close()
        self._starter.shutdown()

    def clean(self, data: bytes, *, burned_in: bool = False) -> Cleaned:
        """An untrusted file, decoded wholly, its picture alone and its pixels. Raises UnreadableImage.

        `burned_in`: take DICOM files that say that text is burned into their pixels.
        """
        return self._clean(data, {"burned_in": burned_in, "pixels": True})

    def check(self, data: bytes, *, burned_in: bool = False) -> Cleaned:
        """As `clean`, where nobody needs the pixels: they are empty."""
        return self._clean(data, {"burned_in": burned_in, "pixels": False})

    def pixels(self, data: bytes) -> NDArray[np.uint8]:
        """A cleaned file's pixels, as large as it came, uint8 (h, w, c): c is 1 where every pixel is grey, else 3."""
        answer = self._ask("images", Frame({"ask": "pixels"}, data))
        return _pixels(answer.data, _look(answer.head))

    def _clean(self, data: bytes, words: dict[str, bool]) -> Cleaned:
        kind, asked = ("dicom", "dicom") if is_dicom(data) else ("images", "clean")
        answer = self._ask(kind, Frame({"ask": asked, **words}, data))
        look, kept = _look(answer.head), _whole(answer.head, "kept", most=len(answer.data))
        answered = memoryview(answer.data)
        pixels = _pixels(answered[kept:], look) if words["pixels"] else np.empty((0, 0, 1), np.uint8)
        return Cleaned(look, bytes(answered[:kept]), pixels)

    def _ask(self, kind: str, question: Frame) -> Frame:
        apart = self._borrow(kind)
        try:
            answer = apart.ask(question, within_seconds=self._within_seconds)
        except Refused as error:
            self._give_back(kind, apart)
            raise UnreadableImage(str(error)) from error
        except Died as error:
            apart.close()
            raise UnreadableImage(str(error)) from error
        except BaseException:
            apart.close()
            raise
        self._give_back(kind, apart)
        return answer

    def _borrow(self, kind: str) -> Apart:
        with self._lock:
            if self._idle[kind]:
                return self._idle[kind].pop()
        return self._starter.submit(Apart, PROGRAM, kind).result()

    def _give_back(self, kind: str, apart: Apart) -> None:
        if apart.busy_seconds > RENEWED_AFTER_SECONDS:
            apart.close()
            return
        with self._lock:
            self._idle[kind].append(apart)


def _look(head: Mapping[str, Any]) -> Look:
    return Look(width=_whole(head, "width"), height=_whole(head, "height"), grey=head.get("grey") is True)


def _pixels(data: bytes | bytearray | memoryview, look: Look) -> NDArray[np.uint8]:
    shape = (look.height, look.width, 1 if look.grey else 3)
    if len(data) != math.prod(shape):
        raise UnreadableImage("its decoder answered with another size than it says")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _whole(head: Mapping[str, Any], name: str, *, most: int = 1 << 20) -> int:
    value = head.get(name)
    if not isinstance(value, int) or not 0 < value <= most:
        raise UnreadableImage(f"its decoder answered with {name} {value!r}")
    return value
