"""What a process and a shut-in child of it say to each other: frames of one JSON object and some bytes.

JSON and plain bytes on purpose: what a child that was taken over answers must be nothing that runs.
"""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_LENGTHS = struct.Struct(">IQ")
HEAD_MAX_BYTES = 512 << 20
"""A list of the million names that an archive may hold fits."""


class BrokenFrame(Exception):
    """The other side says what is no frame."""


@dataclass(frozen=True)
class Frame:
    """One question or answer."""

    head: dict[str, Any]
    data: bytes | bytearray = b""

    def write(self, write: Callable[[bytes | bytearray], object]) -> None:
        """Hand this frame's bytes to `write`, which takes all that it is given."""
        head = json.dumps(self.head, allow_nan=False).encode()
        write(_LENGTHS.pack(len(head), len(self.data)) + head)
        if self.data:
            write(self.data)

    @classmethod
    def read(cls, read: Callable[[int], bytes | bytearray], *, data_max_bytes: int) -> "Frame":
        """The next frame; `read` returns just so many bytes, or raises. BrokenFrame for one that is not to be taken."""
        head_bytes, data_bytes = _LENGTHS.unpack(read(_LENGTHS.size))
        if head_bytes > HEAD_MAX_BYTES or data_bytes > data_max_bytes:
            raise BrokenFrame(f"a frame of {head_bytes} and {data_bytes} bytes is more than is taken")
        try:
            head = json.loads(read(head_bytes))
        except (ValueError, RecursionError) as error:
            raise BrokenFrame("a frame begins with what is no JSON") from error
        if not isinstance(head, dict):
            raise BrokenFrame("a frame begins with JSON that is no object")
        return cls(head, read(data_bytes))
