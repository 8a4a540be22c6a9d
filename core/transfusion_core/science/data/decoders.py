"""Images decoded by processes apart: any thread asks, and each question goes to a process that is idle.

Files come from strangers, and what decodes them is large and written in C. A file that kills its process, or keeps it
too long, is unreadable; the next one meets a new process.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
        """An untrusted file, decoded wholly, and its picture alone. Raises UnreadableImage.

        `burned_in`: take DICOM files that say that text is burned into their pixels.
        """
        if is_dicom(data):
            answer = self._ask("dicom", Frame({"ask": "dicom", "burned_in": burned_in}, data))
        else:
            answer = self._ask("images", Frame({"ask": "clean"}, data))
        return Cleaned(_look(answer.head), answer.data)

    def square(self, data: bytes, size: int) -> NDArray[np.uint8]:
        """A cleaned file's pixels, resized to (3, size, size)."""
        answer = self._ask("images", Frame({"ask": "square", "size": size}, data))
        if len(answer.data) != 3 * size * size:
            raise UnreadableImage("its decoder answered with another size than was asked for")
        return np.frombuffer(answer.data, np.uint8).reshape(3, size, size)

    def image(self, data: bytes) -> Image.Image:
        """A cleaned file's picture in RGB, as large as it came."""
        answer = self._ask("images", Frame({"ask": "pixels"}, data))
        width, height = _whole(answer.head, "width"), _whole(answer.head, "height")
        if len(answer.data) != 3 * width * height:
            raise UnreadableImage("its decoder answered with another size than it says")
        return Image.frombytes("RGB", (width, height), answer.data)

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


def _whole(head: Mapping[str, Any], name: str) -> int:
    value = head.get(name)
    if not isinstance(value, int) or not 0 < value < 1 << 20:
        raise UnreadableImage(f"its decoder answered with {name} {value!r}")
    return value
