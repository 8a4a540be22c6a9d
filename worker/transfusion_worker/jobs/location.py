"""From a dataset's location to a path on this machine. Nothing is fetched but what the operator allows."""

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from transfusion_core.errors import DataError, ObjectCorrupt, ObjectMissing, StoreError
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store.files import write_pieces
from transfusion_core.store.patience import Patience
from transfusion_core.store.s3 import s3_client
from transfusion_core.store.s3_errors import translated
from transfusion_worker.context import JobContext


def resolve(location: str, context: JobContext) -> Path:
    """The file or folder at `location`, copied into the scratch folder unless it is on this machine already."""
    if location.startswith("file://"):
        return _local(location, context.settings)
    if location.startswith("upload:"):
        return _upload(location.removeprefix("upload:"), context)
    return _s3(location, context.settings, context.scratch)


def _local(location: str, settings: Settings) -> Path:
    if settings.mode != "embedded":
        raise DataError(f"{location}: files of the server are only read in embedded mode; upload them instead")
    path = Path(unquote(urlsplit(location).path))
    if not path.exists():
        raise DataError(f"{location}: there is no such file or folder")
    return path


def _upload(upload: str, context: JobContext) -> Path:
    """An upload's bytes, which must be those that were registered: its link is good for some minutes after that."""
    path, key = context.scratch / "upload", f"uploads/{upload}"
    sha256 = context.spec.get("fingerprint")
    source = StoredObject(key=key, size_bytes=context.store.size(key) or 0, sha256=sha256) if sha256 else key
    try:
        write_pieces(path, context.store.open_stream(source))
    except ObjectMissing as error:
        raise DataError(f"upload:{upload}: there is no such upload") from error
    except ObjectCorrupt as error:
        raise DataError(f"upload:{upload}: its bytes are not those that were registered: {error}") from error
    return path


def _s3(location: str, settings: Settings, scratch: Path) -> Path:
    if not any(_is_below(location, allowed) for allowed in settings.allowed_locations):
        allowed = ", ".join(settings.allowed_locations) or "none"
        raise DataError(f"{location}: expected a location below an allowed one ({allowed})")
    bucket, _, key = location.removeprefix("s3://").partition("/")
    try:
        return _download(settings, bucket, key, scratch)
    except ObjectMissing as error:
        raise DataError(f"{location}: there is no such object") from error
    except StoreError as error:
        raise DataError(f"{location}: {error}") from error


def _is_below(location: str, allowed: str) -> bool:
    return location == allowed or location.startswith(allowed.rstrip("/") + "/")


def _download(settings: Settings, bucket: str, key: str, scratch: Path) -> Path:
    """One object, or everything below a key that ends with a slash."""
    client = s3_client(settings.s3_endpoint_url, region=settings.s3_region)
    patience = Patience(seconds=settings.store_seconds)

    def fetch(name: str, path: Path) -> None:
        with translated(name):
            client.download_file(bucket, name, str(path))

    if key and not key.endswith("/"):
        path = scratch / f"object{PurePosixPath(key).suffix}"
        patience.retry(lambda: fetch(key, path))
        return path
    folder = scratch / "objects"
    folder.mkdir()
    for name in patience.retry(lambda: _names(client, bucket, key)):
        path = (folder / name.removeprefix(key)).resolve()
        if name.endswith("/") or not path.is_relative_to(folder.resolve()):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        patience.retry(partial(fetch, name, path))
    return folder


def _names(client: Any, bucket: str, prefix: str) -> list[str]:
    with translated(prefix):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
