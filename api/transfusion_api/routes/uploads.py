"""Uploads: where to send a file's bytes, and the route that takes them where the store has no links of its own."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from transfusion_api.answers import Id, Upload, UploadRequest
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, pieces, read, takes
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_core.db import uploads
from transfusion_core.errors import Conflict, InvalidRequest, TooLarge
from transfusion_core.settings import Settings
from transfusion_core.specs.fault import Fault

LINK_SECONDS = 900
CONTENT = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}


def router(settings: Settings) -> APIRouter:
    """The routes; the one that takes bytes has its own limit."""
    routes = APIRouter(prefix="/v1/uploads", tags=["uploads"], dependencies=[needs("write")])
    routes.post("", status_code=201, responses=documented(408, 413), openapi_extra=takes(UploadRequest))(create_upload)
    routes.put(
        "/{upload_id}/content",
        responses=documented(404, 408, 409, 413),
        openapi_extra=CONTENT,
        max_body_size=settings.max_upload_bytes,
    )(put_upload_content)
    return routes


def create_upload(service: Serving, scope: Scoped, body: Body, request: Request) -> Upload:
    """Announce a file: the answer says where to PUT its bytes, within 15 minutes."""
    wanted = read(UploadRequest, body)
    if wanted.size_bytes > service.settings.max_upload_bytes:
        limit = service.settings.max_upload_bytes
        fault = Fault(pointer="/size_bytes", message="the file is too large", allowed=[f"1 .. {limit}"])
        raise TooLarge("The file is larger than this service takes.", faults=[fault])
    upload = uploads.create(scope, filename=wanted.filename, size_bytes=wanted.size_bytes)
    return _answer(service, upload, request)


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


def put_upload_content(
    service: Serving,
    scope: Scoped,
    upload: Announced,
    request: Request,
    content: Annotated[Path, Depends(spooled)],
) -> Upload:
    """The bytes of an upload, once."""
    size_bytes = content.stat().st_size
    if size_bytes != upload.size_bytes:
        raise InvalidRequest(f"expected {upload.size_bytes} bytes, as announced; got {size_bytes}")
    stored = service.store.put_file(upload.key, content)
    return _answer(service, uploads.finish(scope, upload.id, stored), request)


def _answer(service: Service, upload: uploads.Upload, request: Request) -> Upload:
    link = service.store.presign_put(upload.key, seconds=LINK_SECONDS, size_bytes=upload.size_bytes)
    here = str(request.url_for("put_upload_content", upload_id=upload.id))
    headers = {} if link else {"Content-Type": "application/octet-stream"}
    return Upload(id=upload.id, url=link or here, headers=headers, size_bytes=upload.size_bytes, state=upload.state)
