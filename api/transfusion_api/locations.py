"""Where bytes may come from: finished uploads, files of this machine (embedded only), allow-listed buckets."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from transfusion_api.service import Service
from transfusion_core.db import uploads
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest, NotFound
from transfusion_core.locations import LocationRefused, in_bucket, local
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import UPLOAD, StoredObject
from transfusion_core.specs.fault import Fault

MAX_FILES = 1_000_000
"""A folder of more files is not looked through within one request."""


def fingerprint(service: Service, scope: Scope, location: str | None) -> str | None:
    """What stands for the bytes behind a location; None where the location itself does. InvalidRequest if unusable."""
    if location is None:
        return None
    if location.startswith(UPLOAD):
        return uploaded(service, scope, location).sha256
    if location.startswith("file:///"):
        return _fingerprint_of_files(local_path(service.settings, location))
    _check_allowed(service.settings, location)
    return None


def uploaded(service: Service, scope: Scope, location: str) -> StoredObject:
    """The object behind `upload:ID`, once all of its bytes are there; those that came by a presigned link are read."""
    upload_id = location.removeprefix(UPLOAD)
    try:
        upload = uploads.get(scope, upload_id)
    except NotFound as error:
        raise _unusable(location, f"there is no upload {upload_id!r} (any more)") from error
    if upload.object:
        return upload.object
    size_bytes = service.store.size(upload.key)
    if size_bytes != upload.size_bytes:
        raise _unusable(location, f"the upload has {size_bytes or 0} of {upload.size_bytes} bytes; PUT them first")
    stored = stored_at(service, upload.key, size_bytes)
    uploads.finish(scope, upload_id, stored, before=upload.mark)
    return stored


def stored_at(service: Service, key: str, size_bytes: int) -> StoredObject:
    """An object whose digest nobody knows yet: its bytes are read."""
    sha256 = hashlib.sha256()
    for piece in service.store.open_stream(key):
        sha256.update(piece)
    return StoredObject(key=key, size_bytes=size_bytes, sha256=sha256.hexdigest())


def local_path(settings: Settings, location: str) -> Path:
    """The file or folder of this machine behind `file:///...`, all links followed."""
    try:
        return local(settings, location)
    except LocationRefused as error:
        raise _unusable(location, str(error)) from error


def _check_allowed(settings: Settings, location: str) -> None:
    try:
        in_bucket(settings, location)
    except LocationRefused as error:
        prefixes = [allowed.prefix.rstrip("/") for allowed in settings.allowed_locations]
        fault = Fault(pointer="/location", message=str(error), value=location, allowed=prefixes)
        raise InvalidRequest(faults=[fault]) from error


def _fingerprint_of_files(path: Path) -> str:
    """sha256 over (relative path, size, mtime) of the files, in order of their names."""
    sha256 = hashlib.sha256()
    for count, file in enumerate(sorted(_files(path))):
        if count >= MAX_FILES:
            raise _unusable(str(path), f"has more than {MAX_FILES:,} files")
        stat = file.stat()
        line = f"{file.relative_to(path) if file != path else file.name}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        sha256.update(line.encode("utf-8", "surrogateescape"))
    return sha256.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names if Path(folder, name).is_file())


def _unusable(location: str, message: str) -> InvalidRequest:
    return InvalidRequest(faults=[Fault(pointer="/location", message=message, value=location)])
