"""From a dataset's location to a path on this machine. Nothing is fetched but what the operator allows."""

from pathlib import Path, PurePosixPath
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from transfusion_core.errors import DataError, ObjectMissing, Unavailable
from transfusion_core.locations import BucketLocation, LocationRefused, in_bucket, local
from transfusion_core.science.data.paths import is_inside, is_plain
from transfusion_core.store import Store
from transfusion_core.store.files import write_pieces
from transfusion_core.store.s3 import s3_client
from transfusion_worker.context import JobContext

NAME_MAX_BYTES = 255
"""Of a file on most file systems."""
_ABSENT = ("404", "NoSuchKey", "NoSuchBucket")


def resolve(location: str, context: JobContext) -> Path:
    """The file or folder at `location`, copied into the scratch folder unless it is on this machine already."""
    if location.startswith("upload:"):
        return _upload(location.removeprefix("upload:"), context.store, context.scratch)
    try:
        if location.startswith("file://"):
            return local(context.settings, location)
        found = in_bucket(context.settings, location)
    except LocationRefused as error:
        raise DataError(f"{location}: {error}") from error
    return _from_bucket(location, found, context)


def _upload(upload: str, store: Store, scratch: Path) -> Path:
    path = scratch / "upload"
    try:
        write_pieces(path, store.open_stream(f"uploads/{upload}"))
    except ObjectMissing as error:
        raise DataError(f"upload:{upload}: there is no such upload") from error
    return path


def _from_bucket(location: str, found: BucketLocation, context: JobContext) -> Path:
    allowed, settings = found.allowed, context.settings
    try:
        client = s3_client(
            allowed.endpoint_url or settings.s3_endpoint_url,
            region=allowed.region or settings.s3_region,
            profile=allowed.profile,
        )
        return _download(client, found, context.scratch)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _ABSENT:
            raise DataError(f"{location}: there is no such object") from error
        raise DataError(f"{location}: the store refuses: {error}") from error
    except ProfileNotFound as error:
        raise DataError(f"{location}: the worker has no credentials of the name {allowed.profile!r}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{location}: the store does not answer: {error}") from error


def _download(client: Any, found: BucketLocation, scratch: Path) -> Path:
    """One object, or everything below a key that ends with a slash."""
    bucket, key = found.bucket, found.key
    if key and not key.endswith("/"):
        path = scratch / f"object{PurePosixPath(key).suffix}"
        client.download_file(bucket, key, str(path))
        return path
    folder = scratch / "objects"
    folder.mkdir()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        for entry in page.get("Contents", []):
            if not entry["Key"].endswith("/"):
                path = _place(folder, entry["Key"].removeprefix(key))
                client.download_file(bucket, entry["Key"], str(path))
    return folder


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
