"""Which relative paths of files are taken, wherever they come from."""

from pathlib import PurePosixPath

from transfusion_core.specs.text import is_text

MAX_LENGTH = 1000


def is_inside(path: str) -> bool:
    """Does a relative path stay below its root."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    return bool(parts) and ".." not in parts and parts[0] != "/" and not parts[0].endswith(":") and "\0" not in path


def is_plain(path: str) -> bool:
    """Can a path be shown and stored."""
    return len(path) <= MAX_LENGTH and is_text(path)


def is_hidden(path: str) -> bool:
    """Is it a hidden file, or one of macOS's resource forks."""
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))
