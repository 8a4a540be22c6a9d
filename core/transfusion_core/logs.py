"""What processes print of themselves: one record, one line, whatever words of strangers are in it."""

import logging

from transfusion_core.specs.text import one_line

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
MESSAGE_MAX = 2000


class OneLine(logging.Formatter):
    """Messages on one line, without control characters: a path or a name cannot make up a record of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """See `logging.Formatter`."""
        record.message = one_line(record.message, most=MESSAGE_MAX)
        return super().formatMessage(record)

    def formatException(self, exc_info: object) -> str:  # noqa: N802 - logging's name
        """The trace, each of its lines indented, so that none looks like a record."""
        text = super().formatException(exc_info)  # type: ignore[arg-type]
        return "\n".join(f"  {one_line(line, most=MESSAGE_MAX)}" for line in text.split("\n"))


def configure(level: str) -> None:
    """Print the records of this process to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
