"""Which relative paths of files are taken, wherever they come from."""

import re

from transfusion_core.specs.text import is_text

MAX_LENGTH = 1000
_DRIVE = re.compile("[A-Za-z]:")
"""How an absolute path begins elsewhere."""


def is_inside(path: str) -> bool:
    """Does a relative path stay below its root."""
    plain = path.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    return (
        bool(parts)
        and ".." not in parts
        and not plain.startswith("/")
        and not _DRIVE.match(plain)
        and "\0" not in plain
    )


def is_plain(path: str) -> bool:
    """Can a path be shown and stored."""
    return len(path) <= MAX_LENGTH and is_text(path)


def is_hidden(path: str) -> bool:
    """Is it a hidden file, or one of macOS's resource forks."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
