"""Uploads: where to send a file's bytes, whole or in parts, and routes that take them where the store has no links."""

import base64
import hashlib
import tempfile
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Request
from fastapi import Path as InPath

from transfusion_api.answers import Completion, Id, Page, PartLink, PartRequest, PartsRequest, Upload, UploadRequest
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, pieces, read, takes
from transfusion_api.locations import stored_at
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_core.db import uploads
from transfusion_core.db.scope import Scope
from transfusion_core.errors import Conflict, InvalidRequest, ObjectMissing, TooLarge
from transfusion_core.settings import Settings
from transfusion_core.specs.fault import Fault
from transfusion_core.store.files import digest_of
from transfusion_core.store.protocol import Part

LINK_SECONDS = 900
MOST_PARTS = 10_000
"""S3 takes no more."""
CONTENT = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
Number = Annotated[int, InPath(ge=1, le=MOST_PARTS)]


def router(settings: Settings) -> APIRouter:
    """The routes; those that take bytes have their own limit."""
    routes = APIRouter(prefix="/v1/uploads", tags=["uploads"], dependencies=[needs("write")])
    routes.post("", status_code=201, responses=documented(408, 413), openapi_extra=takes(UploadRequest))(create_upload)
    routes.get("/{upload_id}", responses=documented(404))(get_upload)
    routes.put(
        "/{upload_id}/content",
        responses=documented(404, 408, 409, 413),
        openapi_extra=CONTENT,
        max_body_size=settings.max_upload_bytes,
    )(put_upload_content)
    routes.post("/{upload_id}/parts", responses=documented(404, 408, 409, 413), openapi_extra=takes(PartsRequest))(
        begin_upload_parts
    )
    routes.put(
        "/{upload_id}/parts/{number}",
        responses=documented(404, 408, 409, 413),
        openapi_extra=CONTENT,
        max_body_size=settings.max_upload_bytes,
        status_code=204,
    )(put_upload_part)
    routes.post("/{upload_id}/complete", responses=documented(404, 408, 409, 413), openapi_extra=takes(Completion))(
        complete_upload
    )
    return routes


def create_upload(service: Serving, scope: Scoped, body: Body, request: Request) -> Upload:
    """Announce a file: the answer says where to PUT its bytes, within 15 minutes.

    A large one is better sent in parts, which can be sent again one by one: see `parts` and `complete`.
    """
    wanted = read(UploadRequest, body)
    limit, part_bytes = service.settings.max_upload_bytes, service.settings.upload_part_bytes
    if wanted.size_bytes > limit:
        fault = Fault(pointer="/size_bytes", message="the file is too large", allowed=[f"1 .. {limit}"])
        raise TooLarge("The file is larger than this service takes.", faults=[fault])
    part_bytes = max(part_bytes, -(-wanted.size_bytes // MOST_PARTS))
    upload = uploads.create(scope, filename=wanted.filename, size_bytes=wanted.size_bytes, part_bytes=part_bytes)
    return _answer(service, upload, request)


def get_upload(service: Serving, scope: Scoped, upload_id: Id, request: Request) -> Upload:
    """An upload, and which of its parts are there."""
    upload = uploads.get(scope, upload_id)
    answer = _answer(service, upload, request)
    return answer.model_copy(update={"received": [part.number for part in _parts(service, upload)]})


def announced(scope: Scoped, upload_id: Id) -> uploads.Upload:
    """The upload that bytes are sent to, while it waits for them; asked before a byte is read."""
    upload = uploads.get(scope, upload_id)
    if upload.state != "open":
        raise Conflict(f"upload {upload_id} is {upload.state}: its bytes are there already")
    return upload


Announced = Annotated[uploads.Upload, Depends(announced)]


async def spooled(request: Request, upload: Announced) -> AsyncIterator[Path]:
    """The body as a temporary file: bytes go to disk as they come, not more than were announced."""
    size_bytes = 0
    with tempfile.NamedTemporaryFile(prefix="upload-") as file:
        async for piece in pieces(request):
            size_bytes += len(piece)
            if size_bytes > upload.size_bytes:
                raise InvalidRequest(f"expected {upload.size_bytes} bytes, as announced; got more")
            await run_sync(file.write, piece)
        file.flush()
        yield Path(file.name)


Spooled = Annotated[Path, Depends(spooled)]


def put_upload_content(
    service: Serving, scope: Scoped, upload: Announced, request: Request, content: Spooled
) -> Upload:
    """The bytes of an upload, once."""
    _check_size(content, upload.size_bytes)
    begun = uploads.begin_whole(scope, upload.id, sha256=digest_of(content))
    stored = service.store.put_file(begun.key, content)
    return _answer(service, uploads.finish(scope, begun.id, stored, before=begun.mark), request)


def begin_upload_parts(
    service: Serving, scope: Scoped, upload: Announced, body: Body, request: Request
) -> Page[PartLink]:
    """Where to PUT these parts, within 15 minutes; ask again for those that did not arrive."""
    wanted = read(PartsRequest, body).parts
    for place, part in enumerate(wanted):
        if part.number > upload.parts:
            fault = Fault(pointer=f"/parts/{place}/number", message="the file has no such part", value=part.number)
            raise InvalidRequest(faults=[fault.model_copy(update={"allowed": [f"1 .. {upload.parts}"]})])
    begun = _begun(service, scope, upload)
    return Page[PartLink](items=[_link(service, begun, part, request) for part in wanted], next=None)


def put_upload_part(
    service: Serving,
    scope: Scoped,
    upload: Announced,
    number: Number,
    content: Spooled,
    content_md5: Annotated[str | None, Header(max_length=100)] = None,
) -> None:
    """The bytes of a part, as often as it takes."""
    if number > upload.parts:
        raise InvalidRequest(f"the file has no part {number}; expected 1 to {upload.parts}")
    _check_size(content, upload.part_size(number))
    if content_md5 is not None and content_md5 != _md5(content):
        raise InvalidRequest(f"part {number} did not arrive as it was sent: its MD5 is not {content_md5}")
    begun = _begun(service, scope, upload)
    assert begun.token is not None
    service.store.put_part(begun.key, begun.token, number, content)


def complete_upload(service: Serving, scope: Scoped, upload_id: Id, body: Body, request: Request) -> Upload:
    """Say that all bytes were sent: they are joined and read, and must have this digest."""
    upload = uploads.get(scope, upload_id)
    sha256 = read(Completion, body).sha256
    if upload.whole is not None and upload.whole != sha256:
        raise _other_bytes(upload.whole, sha256)
    if upload.object is None:
        if service.store.size(upload.key) != upload.size_bytes:
            _join(service, upload)
        stored = stored_at(service, upload.key, upload.size_bytes)
        if stored.sha256 == sha256:
            return _answer(service, uploads.finish(scope, upload_id, stored, before=upload.mark), request)
        uploads.reject(scope, upload_id, before=upload.mark, discard=partial(service.store.delete, upload.key))
        raise _other_bytes(stored.sha256, sha256)
    if upload.object.sha256 != sha256:
        raise _other_bytes(upload.object.sha256, sha256)
    return _answer(service, upload, request)


def _join(service: Service, upload: uploads.Upload) -> None:
    there = {part.number: part for part in _parts(service, upload)}
    numbers = range(1, upload.parts + 1)
    absent = [n for n in numbers if n not in there or there[n].size_bytes != upload.part_size(n)]
    if absent or upload.token is None:
        shown = f"{', '.join(map(str, absent[:20]))}{' ...' if len(absent) > 20 else ''}"
        raise Conflict(f"upload {upload.id} is not complete: of {upload.parts} parts it lacks {shown}")
    service.store.join_parts(upload.key, upload.token, [there[number] for number in numbers])


def _parts(service: Service, upload: uploads.Upload) -> Sequence[Part]:
    if upload.token is None or upload.object is not None:
        return []
    try:
        return service.store.parts(upload.key, upload.token)
    except ObjectMissing:
        return []


def _begun(service: Service, scope: Scope, upload: uploads.Upload) -> uploads.Upload:
    """The upload with a token for its parts; a new one where the store has given up those that there were."""
    if upload.token is not None:
        try:
            service.store.parts(upload.key, upload.token)
        except ObjectMissing:
            pass
        else:
            return upload
    if upload.whole is not None:
        raise Conflict(f"the bytes of upload {upload.id} were sent whole: announce another for parts")
    token = service.store.begin_parts(upload.key)
    begun = uploads.begin_parts(scope, upload.id, before=upload.mark, token=token)
    if begun.token != token:  # another request was faster
        service.store.abandon_parts(upload.key, token)
    if begun.token is None:
        raise Conflict(f"upload {upload.id} was begun in another way just now: ask what it has")
    return begun


def _link(service: Service, upload: uploads.Upload, part: PartRequest, request: Request) -> PartLink:
    assert upload.token is not None
    size_bytes = upload.part_size(part.number)
    words = {"seconds": LINK_SECONDS, "size_bytes": size_bytes}
    link = service.store.presign_part(upload.key, upload.token, part.number, md5=part.md5, **words)
    here = str(request.url_for("put_upload_part", upload_id=upload.id, number=part.number))
    headers = {"Content-MD5": part.md5} if part.md5 else {}
    headers |= {} if link else {"Content-Type": "application/octet-stream"}
    return PartLink(number=part.number, url=link or here, headers=headers, size_bytes=size_bytes)


def _check_size(content: Path, expected_bytes: int) -> None:
    size_bytes = content.stat().st_size
    if size_bytes != expected_bytes:
        raise InvalidRequest(f"expected {expected_bytes} bytes, as announced; got {size_bytes}")


def _md5(content: Path) -> str:
    with content.open("rb") as file:
        return base64.b64encode(hashlib.file_digest(file, "md5").digest()).decode()


def _other_bytes(found: str, expected: str) -> InvalidRequest:
    message = f"the bytes that arrived have sha256 {found}; send them again"
    return InvalidRequest(faults=[Fault(pointer="/sha256", message=message, value=expected)])


def _answer(service: Service, upload: uploads.Upload, request: Request) -> Upload:
    link = None  # once its bytes are there, they never change
    if upload.state == "open":
        link = service.store.presign_put(upload.key, seconds=LINK_SECONDS, size_bytes=upload.size_bytes)
    here = str(request.url_for("put_upload_content", upload_id=upload.id))
    headers = {} if link else {"Content-Type": "application/octet-stream"}
    return Upload(
        id=upload.id,
        url=link or here,
        headers=headers,
        size_bytes=upload.size_bytes,
        state=upload.state,
        part_bytes=upload.part_bytes,
    )
