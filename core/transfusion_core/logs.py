"""What processes print of themselves: one record, one line, whatever words of strangers are in it.

Records carry the ids of what they are about (`about`): request, experiment, job, attempt.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from structlog.contextvars import bound_contextvars, get_contextvars

from transfusion_core.specs.text import one_line

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MESSAGE_MAX = 2000


@contextmanager
def about(**ids: Any) -> Iterator[None]:
    """What is logged within is about these; what is None is left out."""
    with bound_contextvars(**{name: value for name, value in ids.items() if value is not None}):
        yield


class OneLine(logging.Formatter):
    """Messages on one line, without control characters: a path or a name cannot make up a record of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """See `logging.Formatter`."""
        record.message = one_line(record.message, most=MESSAGE_MAX)
        ids = " ".join(f"{name}={one_line(str(value), most=MESSAGE_MAX)}" for name, value in get_contextvars().items())
        return f"{super().formatMessage(record)} {ids}".rstrip()

    def formatException(self, exc_info: object) -> str:  # noqa: N802 - logging's name
        """The trace, each of its lines indented, so that none looks like a record."""
        text = super().formatException(exc_info)  # type: ignore[arg-type]
        return "\n".join(f"  {one_line(line, most=MESSAGE_MAX)}" for line in text.split("\n"))


class Json(OneLine):
    """Records as JSON, one a line."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        told: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": one_line(record.getMessage(), most=MESSAGE_MAX),
            **get_contextvars(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def configure(level: str, style: Literal["text", "json"] = "text") -> None:
    """Print the records of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(Json() if style == "json" else OneLine(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
