"""A store in a bucket of an S3 server, by boto3; made for servers of any maker, so only the plainest calls are used.

boto3's own retries are off: they count tries and know nothing of a body that breaks off. `patience.py` has ours.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from transfusion_core.errors import ObjectCorrupt, ObjectMissing, StoreError, Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.store.files import digest_of, whole, write_pieces
from transfusion_core.store.patience import Patience, Tries
from transfusion_core.store.protocol import Data, Listed, Part, Unfinished, check_digest, check_key, checked, key_of
from transfusion_core.store.s3_errors import translated
from transfusion_core.store.s3_upload import Target, etag_of, join_parts, upload, upload_part

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 60
READ_BYTES = 64 << 10
"""Read at a time: small enough that a slow store is noticed between two of them."""
_PRESENT = frozenset({"BucketAlreadyOwnedByYou", "BucketAlreadyExists"})

T = TypeVar("T")


def s3_client(endpoint_url: str | None, *, region: str, profile: str | None = None) -> Any:
    """A client for any S3 server; credentials come from the ordinary AWS variables or files (`profile`).

    It speaks to the endpoint, or to Amazon, and to nobody else, whatever an answer says.
    """
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
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

    def __init__(
        self,
        client: Any,
        *,
        bucket: str,
        prefix: str = "",
        links: Any = None,
        patience: Patience = Patience(seconds=0),  # noqa: B008 - it is frozen
    ) -> None:
        self._client, self._links, self._patience = client, links, patience
        self._bucket, self._prefix = bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._bucket_is_there = False

    def put_file(self, key: str, path: Path) -> StoredObject:
        """See Store."""
        stored = StoredObject(key=check_key(key), size_bytes=path.stat().st_size, sha256=digest_of(path))
        return self._put(stored, path)

    def put_bytes(self, key: str, data: Data) -> StoredObject:
        """See Store."""
        stored = StoredObject(key=check_key(key), size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
        return self._put(stored, data)

    def get_file(self, stored: StoredObject, path: Path) -> None:
        """See Store."""

        def get() -> None:
            with whole(path) as draft:
                check_digest(stored, write_pieces(draft, self.open_stream(stored.key)))

        _once_more(get)

    def get_bytes(self, stored: StoredObject | str) -> bytes:
        """See Store."""
        return _once_more(lambda: b"".join(self.open_stream(stored)))

    def open_stream(self, stored: StoredObject | str) -> Iterator[bytes]:
        """See Store."""
        key = key_of(stored)
        answer = self._patience.retry(partial(self._get, key))
        return checked(stored, self._pieces(key, answer))

    def size(self, key: str) -> int | None:
        """See Store."""
        head = self._patience.retry(partial(self._head, key))
        return None if head is None else int(head["ContentLength"])

    def exists(self, key: str) -> bool:
        """See Store."""
        return self.size(key) is not None

    def delete(self, key: str) -> None:
        """See Store."""
        try:
            self._ask(key, self._client.delete_object, Key=self._name(key))
        except ObjectMissing:  # some servers say so
            return

    def list(self, prefix: str) -> Iterator[Listed]:
        """See Store."""
        more: dict[str, str] = {}
        while True:
            try:
                page = self._ask(prefix, self._client.list_objects_v2, Prefix=self._prefix + prefix, **more)
            except ObjectMissing:  # no bucket yet
                return
            for entry in page.get("Contents", []):
                yield Listed(entry["Key"].removeprefix(self._prefix), entry["Size"], entry["LastModified"])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def unfinished(self) -> Iterator[Unfinished]:
        """See Store. Multipart uploads."""
        more: dict[str, str] = {}
        while True:
            try:
                page = self._ask("", self._client.list_multipart_uploads, Prefix=self._prefix, **more)
            except ObjectMissing:
                return
            for entry in page.get("Uploads", []):
                yield Unfinished(entry["Key"].removeprefix(self._prefix), entry["UploadId"], entry["Initiated"])
            if not page.get("IsTruncated"):
                return
            more = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def abandon(self, unfinished: Unfinished) -> None:
        """See Store."""
        self.abandon_parts(unfinished.key, unfinished.token)

    def begin_parts(self, key: str) -> str:
        """See Store. A multipart upload."""
        name = self._name(key)
        self._patience.retry(self._make_bucket)
        return str(self._ask(key, self._client.create_multipart_upload, Key=name)["UploadId"])

    def put_part(self, key: str, token: str, number: int, path: Path) -> None:
        """See Store."""
        tries = self._patience.begin(size_bytes=path.stat().st_size)
        tries.retry(partial(upload_part, self._target(key), token, number, path.read_bytes(), tries))

    def parts(self, key: str, token: str) -> Sequence[Part]:
        """See Store."""
        found: list[Part] = []
        more: dict[str, Any] = {}
        while True:
            page = self._ask(key, self._client.list_parts, Key=self._name(key), UploadId=token, **more)
            found += [Part(each["PartNumber"], each["Size"], each["ETag"]) for each in page.get("Parts", [])]
            if not page.get("IsTruncated"):
                return found
            more = {"PartNumberMarker": page["NextPartNumberMarker"]}

    def join_parts(self, key: str, token: str, parts: Sequence[Part]) -> None:
        """See Store."""
        sent = [{"PartNumber": part.number, "ETag": part.tag} for part in parts]
        self._patience.retry(partial(join_parts, self._target(key), token, sent))

    def abandon_parts(self, key: str, token: str) -> None:
        """See Store."""
        try:
            self._ask(key, self._client.abort_multipart_upload, Key=self._name(key), UploadId=token)
        except ObjectMissing:
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
        self._patience.retry(self._make_bucket)
        return str(self._links.generate_presigned_url("put_object", Params=params, ExpiresIn=seconds))

    def presign_part(
        self, key: str, token: str, number: int, *, seconds: int, size_bytes: int, md5: str | None
    ) -> str | None:
        """See Store. Size and MD5 are signed: the server refuses other bytes."""
        if self._links is None:
            return None
        where = {"Bucket": self._bucket, "Key": self._name(key), "UploadId": token, "PartNumber": number}
        params = where | {"ContentLength": size_bytes} | ({"ContentMD5": md5} if md5 else {})
        return str(self._links.generate_presigned_url("upload_part", Params=params, ExpiresIn=seconds))

    def _target(self, key: str) -> Target:
        return Target(self._client, bucket=self._bucket, name=self._name(key), key=key)

    def _put(self, stored: StoredObject, body: Path | Data) -> StoredObject:
        """Upload and verify, again and again as patience has it: an answer that was lost is found to be no loss."""
        etag = etag_of(body)
        target = self._target(stored.key)
        tries = self._patience.begin(size_bytes=stored.size_bytes)

        def put() -> None:
            self._make_bucket()
            if not self._is_there(stored, etag):
                upload(target, body, tries)
                self._check_arrived(stored, etag)

        tries.retry(put)
        return stored

    def _check_arrived(self, stored: StoredObject, etag: str) -> None:
        try:
            if not self._is_there(stored, etag):
                raise Unavailable(f"object '{stored.key}' was uploaded, but the store does not have it")
        except ObjectCorrupt as error:
            self.delete(stored.key)  # nobody was told of it yet
            raise Unavailable(f"object '{stored.key}' did not arrive as it was sent: {error}") from error

    def _is_there(self, stored: StoredObject, etag: str) -> bool:
        """Whether the store has these bytes; ObjectCorrupt where it has others.

        An ETag that is not the MD5 (servers that encrypt make such) says nothing: then the bytes are read.
        """
        head = self._head(stored.key)
        if head is None:
            return False
        size_bytes = int(head["ContentLength"])
        same_size = size_bytes == stored.size_bytes
        if same_size and head["ETag"].strip('"') == etag:
            return True
        sha256 = self._digest(stored.key) if same_size else "another"
        if sha256 != stored.sha256:
            raise ObjectCorrupt(
                f"object '{stored.key}' exists with other bytes; objects never change: expected {stored.size_bytes}"
                f" bytes of sha256 {stored.sha256}, the store has {size_bytes} of {sha256}"
            )
        return True

    def _digest(self, key: str) -> str:
        sha256 = hashlib.sha256()
        for piece in self.open_stream(key):
            sha256.update(piece)
        return sha256.hexdigest()

    def _get(self, key: str, **only: str) -> Any:
        with translated(key):
            return self._client.get_object(Bucket=self._bucket, Key=self._name(key), **only)

    def _pieces(self, key: str, answer: Any) -> Iterator[bytes]:
        """What an answer brings; where it breaks off, another is asked for the rest."""
        size_bytes, etag, read = int(answer["ContentLength"]), answer["ETag"], 0
        tries = self._patience.begin(size_bytes=size_bytes)
        while True:
            try:
                answer = answer or self._get(key, Range=f"bytes={read}-", IfMatch=etag)
                for piece in _read(key, answer["Body"], tries):
                    read += len(piece)
                    tries.got_on()
                    yield piece
                return
            except Unavailable as error:
                if read == size_bytes:
                    return
                answer = None
                tries.again(error)

    def _head(self, key: str) -> Any:
        """What the server says of an object, asked once; None where there is none."""
        try:
            with translated(key):
                return self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        except ObjectMissing:
            return None

    def _ask(self, key: str, call: Callable[..., Any], **what: Any) -> Any:
        """One plain call about this bucket, again where there was no answer."""

        def ask() -> Any:
            with translated(key):
                return call(Bucket=self._bucket, **what)

        return self._patience.retry(ask)

    def _make_bucket(self) -> None:
        if self._bucket_is_there:
            return
        try:
            with translated(self._bucket):
                # Not HeadBucket: an answer without a body does not say why it refuses.
                self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ObjectMissing:
            self._create_bucket()
        self._bucket_is_there = True

    def _create_bucket(self) -> None:
        try:
            with translated(self._bucket, fine=_PRESENT):  # another process may have been faster
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


def _read(key: str, body: Any, tries: Tries) -> Iterator[bytes]:
    with translated(key), body:
        for piece in body.iter_chunks(READ_BYTES):
            tries.check()
            yield piece


def _once_more(get: Callable[[], T]) -> T:
    """What arrives damaged is read a second time: the way may have done it, not the store."""
    try:
        return get()
    except ObjectCorrupt:
        return get()
