"""Uploads: where to send a file's bytes, and the route that takes them where the store has no links of its own."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from transfusion_api.answers import Id, Upload, UploadRequest
from transfusion_api.auth import needs
from transfusion_api.body import Body, read, takes
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
    routes.post("", status_code=201, responses=documented(413), openapi_extra=takes(UploadRequest))(create_upload)
    routes.put(
        "/{upload_id}/content",
        responses=documented(404, 409, 413),
        openapi_extra=CONTENT,
        max_body_size=settings.max_upload_bytes,
    )(put_upload_content)
    return routes


def create_upload(service: Serving, body: Body, request: Request) -> Upload:
    """Announce a file: the answer says where to PUT its bytes, within 15 minutes."""
    wanted = read(UploadRequest, body)
    if wanted.size_bytes > service.settings.max_upload_bytes:
        limit = service.settings.max_upload_bytes
        fault = Fault(pointer="/size_bytes", message="the file is too large", allowed=[f"1 .. {limit}"])
        raise TooLarge("The file is larger than this service takes.", faults=[fault])
    upload = uploads.create(service.engine, filename=wanted.filename, size_bytes=wanted.size_bytes)
    return _answer(service, upload, request)


async def spooled(request: Request) -> AsyncIterator[Path]:
    """The body as a temporary file: bytes go to disk as they come."""
    with tempfile.NamedTemporaryFile(prefix="upload-") as file:
        async for piece in request.stream():
            file.write(piece)
        file.flush()
        yield Path(file.name)


def put_upload_content(
    service: Serving, upload_id: Id, request: Request, content: Annotated[Path, Depends(spooled)]
) -> Upload:
    """The bytes of an upload, once."""
    upload = uploads.get(service.engine, upload_id)
    if upload.state != "open":
        raise Conflict(f"upload {upload_id} is {upload.state}: its bytes are there already")
    size_bytes = content.stat().st_size
    if size_bytes != upload.size_bytes:
        raise InvalidRequest(f"expected {upload.size_bytes} bytes, as announced; got {size_bytes}")
    stored = service.store.put_file(upload.key, content)
    return _answer(service, uploads.finish(service.engine, upload_id, stored), request)


def _answer(service: Service, upload: uploads.Upload, request: Request) -> Upload:
    link = service.store.presign_put(upload.key, seconds=LINK_SECONDS, size_bytes=upload.size_bytes)
    here = str(request.url_for("put_upload_content", upload_id=upload.id))
    headers = {} if link else {"Content-Type": "application/octet-stream"}
    return Upload(id=upload.id, url=link or here, headers=headers, size_bytes=upload.size_bytes, state=upload.state)
