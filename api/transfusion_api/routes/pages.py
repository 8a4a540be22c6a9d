"""The web pages: what there is and where its reports are, without scripts and without anything from elsewhere."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from transfusion_api.auth import role_of
from transfusion_api.service import Serving
from transfusion_core.db import experiments

router = APIRouter(include_in_schema=False)
SHOWN = 100


@router.get("/", response_class=HTMLResponse)
def show_experiments(service: Serving, request: Request) -> HTMLResponse:
    """The newest experiments, for whoever may read them."""
    allowed = role_of(request) is not None
    page = experiments.page(service.engine, limit=SHOWN, cursor=None) if allowed else None
    return _page("index.html", experiments=page.items if page else [], more=bool(page and page.next), allowed=allowed)


@router.get("/docs", response_class=HTMLResponse)
def show_documentation(request: Request) -> HTMLResponse:
    """Every route, from the same OpenAPI document that /openapi.json serves."""
    document = request.app.openapi()
    return _page("docs.html", document=document, operations=_operations(document))


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"path": path, "method": method.upper(), **operation}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def _page(template: str, **words: Any) -> HTMLResponse:
    environment = Environment(
        loader=PackageLoader("transfusion_api", "pages"), autoescape=select_autoescape(), trim_blocks=True
    )
    return HTMLResponse(environment.get_template(template).render(**words))
