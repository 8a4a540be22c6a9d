"""The documents and notebooks, as they stand in `docs/`: of the checkout, or of what the package brought with it.

A wheel puts them under `share/transfusion/docs` of the environment (setuptools' data files).
"""

import sys
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from transfusion_api.answers import Document, Page
from transfusion_api.auth import needs
from transfusion_api.problems import documented
from transfusion_core.errors import NotFound

router = APIRouter(prefix="/v1/documents", tags=["documents"], dependencies=[needs("read")])
PLACES = (Path(__file__).parents[3] / "docs", Path(sys.prefix) / "share" / "transfusion" / "docs")
MEDIA_TYPES = {".md": "text/markdown", ".ipynb": "application/x-ipynb+json", ".svg": "image/svg+xml"}


@cache
def found() -> dict[str, Path]:
    """Every document by its path below `docs/`."""
    place = next((place for place in PLACES if place.is_dir()), None)
    files = sorted(place.rglob("*")) if place else []
    return {file.relative_to(place).as_posix(): file for file in files if place and file.suffix in MEDIA_TYPES}


@router.get("", responses=documented())
def list_documents() -> Page[Document]:
    """The documents and notebooks that this service brings."""
    return Page[Document](items=[Document(name=name, size_bytes=file.stat().st_size) for name, file in found().items()])


@router.get("/{name:path}", responses=documented(404), response_class=FileResponse)
def get_document(name: str) -> FileResponse:
    """One of them as it is: Markdown, a notebook, or a picture of theirs."""
    if name not in found():
        raise NotFound(f"there is no document {name[:100]!r}; /v1/documents lists them")
    return FileResponse(found()[name], media_type=MEDIA_TYPES[found()[name].suffix])
