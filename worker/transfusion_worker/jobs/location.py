"""From a dataset's location to a path on this machine. Nothing is fetched but what the operator allows."""

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from transfusion_core.errors import DataError, ObjectMissing, Unavailable
from transfusion_core.settings import Settings
from transfusion_core.store import Store
from transfusion_core.store.files import write_pieces
from transfusion_core.store.s3 import s3_client
from transfusion_worker.context import JobContext

_ABSENT = ("404", "NoSuchKey", "NoSuchBucket")


def resolve(location: str, context: JobContext) -> Path:
    """The file or folder at `location`, copied into the scratch folder unless it is on this machine already."""
    if location.startswith("file://"):
        return _local(location, context.settings)
    if location.startswith("upload:"):
        return _upload(location.removeprefix("upload:"), context.store, context.scratch)
    return _s3(location, context.settings, context.scratch)


def _local(location: str, settings: Settings) -> Path:
    if settings.mode != "embedded":
        raise DataError(f"{location}: files of the server are only read in embedded mode; upload them instead")
    path = Path(unquote(urlsplit(location).path))
    if not path.exists():
        raise DataError(f"{location}: there is no such file or folder")
    return path


def _upload(upload: str, store: Store, scratch: Path) -> Path:
    path = scratch / "upload"
    try:
        write_pieces(path, store.open_stream(f"uploads/{upload}"))
    except ObjectMissing as error:
        raise DataError(f"upload:{upload}: there is no such upload") from error
    return path


def _s3(location: str, settings: Settings, scratch: Path) -> Path:
    if not any(_is_below(location, allowed) for allowed in settings.allowed_locations):
        allowed = ", ".join(settings.allowed_locations) or "none"
        raise DataError(f"{location}: expected a location below an allowed one ({allowed})")
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        return _download(settings, bucket, key, scratch)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _ABSENT:
            raise DataError(f"{location}: there is no such object") from error
        raise DataError(f"{location}: the store refuses: {error}") from error
    except BotoCoreError as error:
        raise Unavailable(f"{location}: the store does not answer: {error}") from error


def _is_below(location: str, allowed: str) -> bool:
    return location == allowed or location.startswith(allowed.rstrip("/") + "/")


def _download(settings: Settings, bucket: str, key: str, scratch: Path) -> Path:
    """One object, or everything below a key that ends with a slash."""
    client = s3_client(settings.s3_endpoint_url, region=settings.s3_region)
    if key and not key.endswith("/"):
        path = scratch / f"object{PurePosixPath(key).suffix}"
        client.download_file(bucket, key, str(path))
        return path
    folder = scratch / "objects"
    folder.mkdir()
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
        for entry in page.get("Contents", []):
            path = (folder / entry["Key"].removeprefix(key)).resolve()
            if entry["Key"].endswith("/") or not path.is_relative_to(folder.resolve()):
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(bucket, entry["Key"], str(path))
    return folder
