"""A store in a bucket of an S3 server, by boto3; made for servers of any maker, so only the plainest calls are used."""

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from transfusion_core.errors import ObjectMissing, StoreError, Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store.files import digest_of, whole, write_pieces
from transfusion_core.store.protocol import CHUNK_BYTES, check_digest, check_key, key_of

PART_BYTES = 64 << 20
"""Files from this size go up in parts of this size; S3 allows 10,000 parts."""
CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
ATTEMPTS = 3
_ABSENT = {"404", "NoSuchKey", "NoSuchBucket", "NotFound"}
_PRESENT = {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}


def s3_client(endpoint_url: str | None, *, region: str, profile: str | None = None) -> Any:
    """A client for any S3 server; credentials come from the ordinary AWS variables or files (`profile`).

    It speaks to the endpoint, or to Amazon, and to nobody else, whatever an answer says.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"max_attempts": ATTEMPTS, "mode": "standard"},
        s3={"addressing_style": "path"} if endpoint_url else {},
        signature_version="s3v4",
        # Other servers than Amazon's do not know the checksum trailers that boto3 adds by itself.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    session = boto3.session.Session(
        profile_name=profile
    )  # of its own: boto3's default one must not be shared by threads
    client = session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    client.meta.events.register("before-send.s3", partial(_stay, urlsplit(endpoint_url or "").hostname))
    return client


def _stay(endpoint: str | None, request: Any, **_: object) -> None:
    """Refuse to send a request to another host than is meant: a server's answer can redirect the next one."""
    host = urlsplit(request.url).hostname or ""
    theirs = host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
    if not (theirs if endpoint is None else host == endpoint):
        raise StoreError(f"the S3 server redirects to {host!r}, which nobody allowed")


class S3Store:
    """Objects of one bucket below a prefix. Links are signed by `links`, a client for the address that users reach."""

    def __init__(self, client: Any, *, bucket: str, prefix: str = "", links: Any = None) -> None:
        self._client, self._links = client, links
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._bucket_is_there = False

    def put_file(self, key: str, path: Path) -> StoredObject:
        """See Store."""
        size_bytes = path.stat().st_size
        stored = StoredObject(key=key, size_bytes=size_bytes, sha256=digest_of(path))
        with path.open("rb") as file:
            return self._put(stored, file, None if size_bytes >= PART_BYTES else _md5(file))

    def put_bytes(self, key: str, data: bytes) -> StoredObject:
        """See Store."""
        stored = StoredObject(key=key, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        return self._put(stored, data, base64.b64encode(hashlib.md5(data).digest()).decode())

    def get_file(self, stored: StoredObject, path: Path) -> None:
        """See Store."""
        with whole(path) as draft:
            check_digest(stored, write_pieces(draft, self.open_stream(stored.key)))

    def get_bytes(self, stored: StoredObject | str) -> bytes:
        """See Store."""
        data = b"".join(self.open_stream(key_of(stored)))
        if isinstance(stored, StoredObject):
            check_digest(stored, hashlib.sha256(data).hexdigest())
        return data

    def open_stream(self, key: str) -> Iterator[bytes]:
        """See Store."""
        name = self._name(key)
        with _translated(key):
            body = self._client.get_object(Bucket=self._bucket, Key=name)["Body"]
        return _pieces(key, body)

    def size(self, key: str) -> int | None:
        """See Store."""
        head = self._head(key)
        return None if head is None else int(head["ContentLength"])

    def exists(self, key: str) -> bool:
        """See Store."""
        return self._head(key) is not None

    def delete(self, key: str) -> None:
        """See Store."""
        name = self._name(key)
        try:
            with _translated(key):
                self._client.delete_object(Bucket=self._bucket, Key=name)
        except ObjectMissing:  # some servers say so
            return

    def list(self, prefix: str) -> Iterator[str]:
        """See Store."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        try:
            with _translated(prefix):
                for page in pages:
                    for entry in page.get("Contents", []):
                        yield entry["Key"].removeprefix(self._prefix)
        except ObjectMissing:  # no bucket yet
            return

    def presign_get(self, key: str, *, seconds: int, filename: str) -> str | None:
        """See Store."""
        if self._links is None:
            return None
        name = re.sub(r"[^A-Za-z0-9._-]", "_", filename)
        params = {
            "Bucket": self._bucket,
            "Key": self._name(key),
            "ResponseContentDisposition": f'attachment; filename="{name}"',
        }
        return str(self._links.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds))

    def presign_put(self, key: str, *, seconds: int, size_bytes: int) -> str | None:
        """See Store. The size is signed: the server refuses a body of another one."""
        if self._links is None:
            return None
        params = {"Bucket": self._bucket, "Key": self._name(key), "ContentLength": size_bytes}
        self._make_bucket()
        return str(self._links.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds))

    def _put(self, stored: StoredObject, body: IO[bytes] | bytes, md5: str | None) -> StoredObject:
        self._name(stored.key)
        self._make_bucket()
        if self._is_there(stored):
            return stored
        with _translated(stored.key):
            self._upload(stored, body, md5)
        if not self._is_there(stored):
            raise StoreError(f"object '{stored.key}' was uploaded, but the store does not have it")
        return stored

    def _upload(self, stored: StoredObject, body: IO[bytes] | bytes, md5: str | None) -> None:
        name, metadata = self._name(stored.key), {"sha256": stored.sha256}
        if md5 is not None:
            self._client.put_object(Bucket=self._bucket, Key=name, Body=body, ContentMD5=md5, Metadata=metadata)
            return
        assert not isinstance(body, bytes)
        config = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=2)
        self._client.upload_fileobj(body, self._bucket, name, ExtraArgs={"Metadata": metadata}, Config=config)

    def _is_there(self, stored: StoredObject) -> bool:
        """Whether the store has these bytes; StoreError where it has others."""
        head = self._head(stored.key)
        if head is None:
            return False
        sha256 = head["Metadata"].get("sha256") or self._digest(stored.key)
        if (int(head["ContentLength"]), sha256) != (stored.size_bytes, stored.sha256):
            raise StoreError(
                f"object '{stored.key}' exists with other bytes; objects never change: expected {stored.size_bytes}"
                f" bytes of sha256 {stored.sha256}, the store has {head['ContentLength']} of {sha256}"
            )
        return True

    def _digest(self, key: str) -> str:
        """The sha256 of an object that came by a presigned link, without our metadata."""
        sha256 = hashlib.sha256()
        for piece in self.open_stream(key):
            sha256.update(piece)
        return sha256.hexdigest()

    def _head(self, key: str) -> Any:
        name = self._name(key)
        try:
            with _translated(key):
                return self._client.head_object(Bucket=self._bucket, Key=name)
        except ObjectMissing:
            return None

    def _make_bucket(self) -> None:
        if self._bucket_is_there:
            return
        try:
            with _translated(self._bucket):
                self._client.head_bucket(Bucket=self._bucket)
        except ObjectMissing:
            self._create_bucket()
        self._bucket_is_there = True

    def _create_bucket(self) -> None:
        try:
            with _translated(self._bucket, fine=_PRESENT):  # another process may have been faster
                region = self._client.meta.region_name
                if region == "us-east-1":
                    self._client.create_bucket(Bucket=self._bucket)
                else:
                    where: Any = {"LocationConstraint": region}
                    self._client.create_bucket(Bucket=self._bucket, CreateBucketConfiguration=where)
        except ObjectMissing as error:
            raise StoreError(f"bucket '{self._bucket}' cannot be created") from error

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)


def _pieces(key: str, body: Any) -> Iterator[bytes]:
    with _translated(key), body:
        yield from body.iter_chunks(CHUNK_BYTES)


def _md5(file: BufferedReader) -> str:
    """What S3 wants in Content-MD5, so that the server itself checks what arrives."""
    digest = hashlib.file_digest(file, "md5").digest()
    file.seek(0)
    return base64.b64encode(digest).decode()


@contextmanager
def _translated(key: str, *, fine: set[str] | None = None) -> Iterator[None]:
    """botocore's errors as ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in (fine or ()):
            return
        raise _meaning(key, code, error) from error
    except BotoCoreError as error:
        raise Unavailable(f"the store does not answer (at '{key}'): {error}") from error


def _meaning(key: str, code: str, error: ClientError) -> StoreError | Unavailable:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _ABSENT:
        return ObjectMissing(f"there is no object '{key}' in the store")
    if status >= 500 or code == "SlowDown":
        return Unavailable(f"the store failed (at '{key}'): {error}")
    return StoreError(f"the store refused (at '{key}'): {error}")
