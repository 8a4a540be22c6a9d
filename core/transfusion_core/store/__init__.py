"""Where large things are kept: one protocol, a folder or an S3 server behind it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from transfusion_core.errors import StoreError
from transfusion_core.settings import Settings
from transfusion_core.store.folder import FolderStore
from transfusion_core.store.patience import Patience
from transfusion_core.store.protocol import Listed, Store, Unfinished, damaged_in
from transfusion_core.store.timing import timed

__all__ = ["FolderStore", "Listed", "Store", "Unfinished", "damaged_in", "open_store", "timed"]


def open_store(settings: Settings) -> Store:
    """The store of `settings.store_url`. Nothing is asked of an S3 server before it is used."""
    url = urlsplit(settings.store_url)
    if url.scheme == "file" and not url.netloc and url.path.strip("/"):
        return FolderStore(Path(unquote(url.path)))
    if url.scheme == "s3" and url.netloc:
        return _open_s3(settings, bucket=url.netloc, prefix=url.path)
    raise StoreError(f"expected a store URL file:///DIR or s3://BUCKET/PREFIX, got {settings.store_url!r}")


def _open_s3(settings: Settings, *, bucket: str, prefix: str) -> Store:
    from transfusion_core.store.s3 import S3Store, s3_client  # boto3 takes a third of a second to import

    client = s3_client(settings.s3_endpoint_url, region=settings.s3_region)
    public, is_aws = settings.s3_public_endpoint_url, settings.s3_endpoint_url is None
    # An endpoint of our own may be for us alone: links are given out only where users are known to reach it.
    links = s3_client(public, region=settings.s3_region) if public else client if is_aws else None
    patience = Patience(seconds=settings.store_seconds)
    return S3Store(client, bucket=bucket, prefix=prefix, links=links, patience=patience)
