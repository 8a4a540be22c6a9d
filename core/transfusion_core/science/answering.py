"""The child's side of a process apart: shut in, it answers one question after the other until nobody asks any more.

A program that does so imports and tries out all that it will need first, since it can open nothing later.
"""

import os
import sys
from collections.abc import Callable, Iterator

from transfusion_core.science.frames import Frame
from transfusion_core.science.isolation import Limits, shut_in

QUESTION_MAX_BYTES = 1 << 31
REFUSED = "refused"
"""In the head of an answer: why the file is not taken. The asker raises it again in its own words."""
MORE = "more"
"""In the head of an answer that another one follows."""
TOLD_MAX = 500
"""Characters of a refusal: part of it is the file's own words."""

Answer = Callable[[Frame], Iterator[Frame]]
"""One or more frames, all but the last with `MORE`. What it raises is a refusal, whatever it is: a hostile file can
make its reader raise anything."""


class Refused(ValueError):
    """The file is not one that is taken; the message says why."""


def serve(answer: Answer, *, limits: Limits) -> None:
    """Answer what comes over stdin, until it ends. Answers go to stdout, which is the same socket."""
    questions, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    shut_in(limits)

    def exactly(count: int) -> bytes:
        data = questions.read(count)
        if len(data) < count:
            sys.exit(0)  # whoever asked is done, or dead
        return data

    while True:
        _answer(Frame.read(exactly, data_max_bytes=QUESTION_MAX_BYTES), answer, answers.write)
        answers.flush()


def _answer(question: Frame, answer: Answer, write: Callable[[bytes | bytearray], object]) -> None:
    try:
        for frame in answer(question):
            frame.write(write)
    except Exception as error:
        Frame({REFUSED: told(error)}).write(write)


def told(error: BaseException) -> str:
    """An error as one line of printable characters and bounded length."""
    if isinstance(error, MemoryError):
        text = "it takes more memory than a file may"
    elif isinstance(error, Refused):
        text = str(error)
    else:
        text = f"it is broken: {error} ({type(error).__name__})"
    return "".join(c if c.isprintable() else " " for c in text)[:TOLD_MAX]
