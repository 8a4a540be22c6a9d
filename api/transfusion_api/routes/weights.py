"""Weights: files of source weights by name, kept under their digest. What is in them, a worker finds out."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastapi import APIRouter

from transfusion_api.answers import Cursor, Limit, Page, WeightsFile, WeightsRequest
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, read, takes
from transfusion_api.locations import local_path, uploaded
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_api.weight_headers import told_input
from transfusion_core.db import uploads, weights
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.fault import Fault

router = APIRouter(prefix="/v1/weights", tags=["weights"])
SUFFIXES = (".safetensors", ".pt", ".pth")
PIECE_BYTES = 1 << 20


@router.post(
    "",
    status_code=201,
    dependencies=[needs("write")],
    responses=documented(408, 409, 413),
    openapi_extra=takes(WeightsRequest),
)
def register_weights(service: Serving, scope: Scoped, body: Body) -> WeightsFile:
    """Name a weight file; a name stands for the same bytes for ever."""
    wanted = read(WeightsRequest, body)
    with _file_of(service, scope, wanted.location) as (path, filename):
        _check_suffix(wanted.location, filename)
        contract = wanted.input or told_input(path)
        stored = service.store.put_file(f"weights/{_sha256(path)}", path)
        row = weights.register(scope, wanted.name, stored, contract)
        # Put may have found an object that nobody named any more, and the janitor taken it before it was named again.
        # Now that it is named, nobody takes it.
        if not service.store.exists(stored.key):
            service.store.put_file(stored.key, path)
    return _answer(row)


@router.get("", dependencies=[needs("read")], responses=documented())
def list_weights(service: Serving, scope: Scoped, limit: Limit = 50, cursor: Cursor = None) -> Page[WeightsFile]:
    """Named weight files."""
    page = weights.page(scope, limit=limit, cursor=cursor)
    return Page[WeightsFile](items=[_answer(row) for row in page.items], next=page.next)


def _answer(row: weights.Weights) -> WeightsFile:
    return WeightsFile(
        name=row.name,
        sha256=row.object.sha256,
        size_bytes=row.object.size_bytes,
        input=row.input,
        created_at=rfc3339(row.created_at),
    )


@contextmanager
def _file_of(service: Service, scope: Scope, location: str) -> Iterator[tuple[Path, str]]:
    """The bytes behind a location as a file, and the name that it came with."""
    if location.startswith("file:///"):
        path = local_path(service.settings, location)
        if not path.is_file():
            raise _unusable(location, "expected a file, not a folder")
        yield path, path.name
        return
    if not location.startswith("upload:"):
        raise _unusable(location, "expected upload:ID, or file:///... in embedded mode")
    stored = uploaded(service, scope, location)
    with tempfile.NamedTemporaryFile(prefix="weights-") as file:
        for piece in service.store.open_stream(stored):
            file.write(piece)
        file.flush()
        yield Path(file.name), uploads.get(scope, location.removeprefix("upload:")).filename


def _check_suffix(location: str, filename: str) -> None:
    if Path(filename).suffix.lower() not in SUFFIXES:
        raise _unusable(location, f"expected a file that ends in {', '.join(SUFFIXES)}; got {filename!r}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unusable(location: str, message: str) -> InvalidRequest:
    return InvalidRequest(faults=[Fault(pointer="/location", message=message, value=location)])
