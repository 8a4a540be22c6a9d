"""What a location of a user's data may name: files of this machine and buckets, where the operator allows them.

No location is a URL of the web, and no host in one is ever looked up: the address of a bucket's server is the
operator's, from the settings, or Amazon's. API and worker both ask here, each before it reads.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from transfusion_core.settings import AllowedLocation, Settings
from transfusion_core.specs.text import is_text

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
KEY_MAX_BYTES = 1024
KERNEL = tuple(map(Path, ("/proc", "/sys", "/dev")))
"""Files there are no data: some never end, some tell the secrets of processes."""


class LocationRefused(ValueError):
    """The location is not one that may be read; the message says why, and nothing of what is there."""


@dataclass(frozen=True)
class BucketLocation:
    """An object, or all below a key that ends with a slash, of a bucket that is allowed."""

    bucket: str
    key: str
    allowed: AllowedLocation


def local(settings: Settings, location: str) -> Path:
    """The file or folder behind `file:///...`, all links followed; it exists. Raises LocationRefused."""
    if settings.mode != "embedded":
        raise LocationRefused("files of the service's machine are only read in embedded mode; upload them instead")
    try:
        named = unquote(location.removeprefix("file://"), errors="strict")
        path = Path(named).resolve()
        there = path.is_file() or path.is_dir()
    except (OSError, RuntimeError, ValueError) as error:  # too long a name, links in a circle, bytes that are no text
        raise LocationRefused("that is no path of a file") from error
    if not is_text(named):
        raise LocationRefused("that is no path of a file")
    if any(each.is_relative_to(root) for each in (path, Path(named)) for root in KERNEL):
        raise LocationRefused("that is no place for data")
    roots = [root.resolve() for root in settings.file_roots]
    if roots and not any(path.is_relative_to(root) for root in roots):
        raise LocationRefused("it lies outside the folders that may be read (TRANSFUSION_FILE_ROOTS)")
    if not there:
        raise LocationRefused("there is no such file or folder")
    return path


def in_bucket(settings: Settings, location: str) -> BucketLocation:
    """The bucket and key behind `s3://...`. Raises LocationRefused for all but allowed ones."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    parts = key.removesuffix("/").split("/") if key else []
    if not BUCKET.fullmatch(bucket) or ".." in bucket:
        raise LocationRefused("expected the name of a bucket after s3://: 3 to 63 of a-z, 0-9, '.' and '-'")
    if len(key.encode(errors="replace")) > KEY_MAX_BYTES or not is_text(key) or {"", ".", ".."} & set(parts):
        raise LocationRefused("expected a key of plain text, without empty, '.' or '..' parts")
    allowed = next((each for each in settings.allowed_locations if each.holds(location)), None)
    if allowed is None:
        words = ", ".join(each.prefix for each in settings.allowed_locations) or "none"
        raise LocationRefused(f"expected a location below an allowed one ({words})")
    return BucketLocation(bucket, key, allowed)
