"""From a dataset's location to a path on this machine. Nothing is fetched but what the operator allows."""

import shutil
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import ProfileNotFound

from transfusion_core.errors import DataError, JobCancelled, ObjectCorrupt, ObjectMissing, StoreError
from transfusion_core.locations import BucketLocation, LocationRefused, in_bucket, local
from transfusion_core.science.data.paths import is_inside, is_plain
from transfusion_core.specs.dataset import UPLOAD, StoredObject
from transfusion_core.store.files import write_pieces
from transfusion_core.store.patience import Patience
from transfusion_core.store.s3 import s3_client
from transfusion_core.store.s3_errors import translated
from transfusion_worker.context import JobContext

MAX_FILES = 1_000_000
NAME_MAX_BYTES = 255
"""Of a file on most file systems."""


def resolve(location: str, context: JobContext) -> Path:
    """The file or folder at `location`, copied into the scratch folder unless it is on this machine already."""
    if location.startswith(UPLOAD):
        return _upload(location.removeprefix(UPLOAD), context)
    try:
        if location.startswith("file://"):
            return local(context.settings, location)
        found = in_bucket(context.settings, location)
    except LocationRefused as error:
        raise DataError(f"{location}: {error}") from error
    return _from_bucket(location, found, context)


def _upload(upload: str, context: JobContext) -> Path:
    """An upload's bytes, which must be those that were registered: its link is good for some minutes after that."""
    path, key = context.scratch / "upload", f"uploads/{upload}"
    sha256 = context.spec.get("fingerprint")
    source = StoredObject(key=key, size_bytes=context.store.size(key) or 0, sha256=sha256) if sha256 else key
    try:
        write_pieces(path, context.store.open_stream(source))
    except ObjectMissing as error:
        raise DataError(f"upload:{upload}: it is not there any more; upload the same files again") from error
    except ObjectCorrupt as error:
        raise DataError(f"upload:{upload}: its bytes are not those that were registered: {error}") from error
    return path


def _from_bucket(location: str, found: BucketLocation, context: JobContext) -> Path:
    allowed, settings = found.allowed, context.settings
    try:
        client = s3_client(
            allowed.endpoint_url or settings.s3_endpoint_url,
            region=allowed.region or settings.s3_region,
            profile=allowed.profile,
        )
        return _download(client, found, context)
    except ProfileNotFound as error:
        raise DataError(f"{location}: the worker has no credentials of the name {allowed.profile!r}") from error
    except ObjectMissing as error:
        raise DataError(f"{location}: there is no such object, or nothing below it") from error
    except DataError as error:
        raise DataError(f"{location}: {error}") from error
    except StoreError as error:
        raise DataError(f"{location}: the store refuses: {error}") from error


def _download(client: Any, found: BucketLocation, context: JobContext) -> Path:
    """One object, or everything below a key that ends with a slash."""
    bucket, key, scratch = found.bucket, found.key, context.scratch
    patience = Patience(seconds=context.settings.store_seconds)

    def fetch(name: str, path: Path) -> None:
        with translated(name):
            client.download_file(bucket, name, str(path))

    if key and not key.endswith("/"):
        _check_room(patience.retry(lambda: _size(client, bucket, key)), context)
        path = scratch / f"object{PurePosixPath(key).suffix}"
        patience.retry(lambda: fetch(key, path))
        return path
    sizes = patience.retry(lambda: _sizes(client, bucket, key))
    if not sizes:
        raise ObjectMissing(key)
    _check_room(sum(sizes.values()), context)
    folder = scratch / "objects"
    folder.mkdir()
    for done, name in enumerate(sizes):
        context.progress("fetch", step=done, steps=len(sizes))
        if context.should_stop():
            raise JobCancelled
        patience.retry(partial(fetch, name, _place(folder, name.removeprefix(key))))
    return folder


def _size(client: Any, bucket: str, key: str) -> int:
    with translated(key):
        return int(client.head_object(Bucket=bucket, Key=key)["ContentLength"])


def _sizes(client: Any, bucket: str, prefix: str) -> dict[str, int]:
    """Bytes of each object below a prefix; what only stands for a folder is passed over."""
    with translated(prefix):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        found: dict[str, int] = {}
        for page in pages:
            entries = page.get("Contents", [])
            found |= {entry["Key"]: entry["Size"] for entry in entries if not entry["Key"].endswith("/")}
            if len(found) > MAX_FILES:
                raise DataError(f"there are more than {MAX_FILES:,} objects")
        return found


def _check_room(size_bytes: int, context: JobContext) -> None:
    """DataError for more than this machine's disk has room for: trying would take it from all other jobs."""
    room_bytes = shutil.disk_usage(context.scratch).free - context.settings.min_free_bytes
    if size_bytes > room_bytes:
        raise DataError(f"it has {size_bytes:,} bytes, and this worker has room for {max(room_bytes, 0):,}")


def _place(folder: Path, name: str) -> Path:
    """Where an object of that name goes, its folder made. DataError for names that no file can have."""
    if (
        not is_inside(name)
        or not is_plain(name)
        or max(len(part.encode()) for part in name.split("/")) > NAME_MAX_BYTES
    ):
        raise DataError(f"the object {name[:200]!r} has a name that no file can have here")
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # a name beside a folder of that name, or longer than files may have
        raise DataError(f"the object {name[:200]!r} has a name that no file can have here: {error.strerror}") from error
    return folder / name
