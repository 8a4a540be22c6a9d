"""Bytes on their way to an S3 server: in one piece with its MD5, or in parts, which are given up where one fails."""

import base64
import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transfusion_core.errors import StoreError, Unavailable
from transfusion_core.store.patience import Tries
from transfusion_core.store.protocol import Data
from transfusion_core.store.s3_errors import translated

PART_BYTES = 64 << 20
"""Larger ones go up in parts of this size; S3 allows 10,000 of them. One part at a time is in memory."""
_NO_MORE = frozenset({"NoSuchUpload", "404"})


@dataclass(frozen=True)
class Target:
    """Where bytes go: `name` in the bucket, which the store calls `key`."""

    client: Any
    bucket: str
    name: str
    key: str

    def call(self, call: Any, *, fine: frozenset[str] = frozenset(), **what: Any) -> Any:
        """One call about this object, without retries."""
        with translated(self.key, fine=fine):
            return call(Bucket=self.bucket, Key=self.name, **what)


class _Body(io.BytesIO):
    """Bytes that can be sent for as long as there is time: a server that takes them too slowly does not answer."""

    def __init__(self, data: bytes, tries: Tries) -> None:
        super().__init__(data)
        self._tries = tries

    def read(self, size: int | None = -1) -> bytes:
        self._tries.check()
        return super().read(size)


def etag_of(body: Path | Data) -> str:
    """The ETag that a server gives these bytes as `upload` sends them: the MD5, or that of the parts' MD5s."""
    digests = [_md5(part) for part in _parts(body)]
    return digests[0].hex() if len(digests) == 1 else f"{_md5(b''.join(digests)).hex()}-{len(digests)}"


def upload(target: Target, body: Path | Data, tries: Tries) -> None:
    """Send the bytes. The server compares them with their MD5 as they come."""
    if _size(body) <= PART_BYTES:
        (data,) = _parts(body)
        target.call(target.client.put_object, Body=_Body(data, tries), ContentMD5=_base64_md5(data))
    else:
        _upload_parts(target, body, tries)


def _upload_parts(target: Target, body: Path | Data, tries: Tries) -> None:
    client = target.client
    token = target.call(client.create_multipart_upload)["UploadId"]
    try:
        sent = [
            tries.retry(partial(upload_part, target, token, number, part, tries))
            for number, part in enumerate(_parts(body), start=1)
        ]
        tries.retry(partial(join_parts, target, token, sent))
    except BaseException:
        with suppress(StoreError, Unavailable):  # a janitor aborts what cannot be aborted now
            target.call(client.abort_multipart_upload, UploadId=token)
        raise


def join_parts(target: Target, token: str, sent: Sequence[dict[str, Any]]) -> None:
    """Make an object of its parts.

    Where the answer to this was lost there is no such upload any more; whoever asked for it looks what there is.
    """
    complete = target.client.complete_multipart_upload
    target.call(complete, fine=_NO_MORE, UploadId=token, MultipartUpload={"Parts": list(sent)})


def upload_part(target: Target, token: str, number: int, data: bytes, tries: Tries) -> dict[str, Any]:
    """Send a part, which the server compares with its MD5; what it is called when the parts are joined."""
    body, md5 = _Body(data, tries), _base64_md5(data)
    call = target.client.upload_part
    answer = target.call(call, UploadId=token, PartNumber=number, Body=body, ContentMD5=md5)
    tries.got_on()
    return {"PartNumber": number, "ETag": answer["ETag"]}


def _size(body: Path | Data) -> int:
    return body.stat().st_size if isinstance(body, Path) else len(body)


def _parts(body: Path | Data) -> Iterator[bytes]:
    """The bytes in parts; one part, be it empty, where they are few."""
    with body.open("rb") if isinstance(body, Path) else io.BytesIO(body) as file:
        yield file.read(PART_BYTES)
        while part := file.read(PART_BYTES):
            yield part


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _base64_md5(data: bytes) -> str:
    return base64.b64encode(_md5(data)).decode()
