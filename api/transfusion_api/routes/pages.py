"""The web pages: what there is and where its reports are, without scripts and without anything from elsewhere.

A browser logs in with an API key and then holds a session in a cookie, which reads and nothing else. Forms that change
things bring a token besides, made of the session: a foreign page has neither.
"""

import hashlib
import hmac
from functools import cache
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, select_autoescape

from transfusion_api.auth import COOKIE, Caller, caller_of, scope_for
from transfusion_api.body import taken
from transfusion_api.service import Service, Serving
from transfusion_core.db import api_keys, experiments, web_sessions
from transfusion_core.errors import InvalidRequest, NotAllowed

router = APIRouter(include_in_schema=False)
SHOWN = 100
MAX_FORM_BYTES = 10_000
_FORM = "application/x-www-form-urlencoded"


async def form(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequest(f"expected a form, {_FORM}")
    text = (await taken(request)).decode("utf-8", "replace")
    try:
        return {name: values[0] for name, values in parse_qs(text, max_num_fields=10).items()}
    except ValueError as error:
        raise InvalidRequest("expected a form of ten fields at most") from error


Form = Annotated[dict[str, str], Depends(form)]


@router.get("/", response_class=HTMLResponse)
def show_experiments(service: Serving, request: Request) -> HTMLResponse:
    """The newest experiments of whoever has logged in, or where to do that."""
    caller = caller_of(request)
    if caller is None:
        return _page("login.html", fault=None)
    page = experiments.page(scope_for(request, caller), limit=SHOWN, cursor=None)
    token = request.cookies.get(COOKIE, "")
    session = {"project": caller.project, "csrf": _csrf(service, token)} if token else None
    return _page("index.html", experiments=page.items, more=bool(page.next), session=session)


@router.post("/login", max_body_size=MAX_FORM_BYTES)
def log_in(service: Serving, request: Request, fields: Form) -> Response:
    """Begin a session with an API key."""
    service.limits.rate.take(f"address {request.client.host if request.client else None}")
    key = api_keys.verify(service.engine, service.secret, fields.get("key", "").strip())
    if key is None:
        return _page("login.html", status=401, fault="This is no key of this service, or it has ended.")
    token = web_sessions.create(scope_for(request, Caller(key.id, key.project, key.role)))
    answer = RedirectResponse("/", 303)
    answer.set_cookie(COOKIE, token, max_age=web_sessions.LIFETIME_SECONDS, **_cookie(service, request))
    return answer


@router.post("/logout", max_body_size=MAX_FORM_BYTES)
def log_out(service: Serving, request: Request, fields: Form) -> Response:
    """End the session."""
    token = request.cookies.get(COOKIE, "")
    if not hmac.compare_digest(_csrf(service, token).encode(), fields.get("csrf", "").encode()):
        raise NotAllowed("this form was not made by this service for this session; go back to the first page")
    key = web_sessions.key_of(service.engine, token)
    if key:
        web_sessions.end(scope_for(request, Caller(key.id, key.project, key.role)), token)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE, **_cookie(service, request))
    return answer


def _csrf(service: Service, token: str) -> str:
    """What a form of this session holds; nobody makes it without the cookie, which no other page can read."""
    return hmac.new(service.secret, b"form " + token.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _cookie(service: Service, request: Request) -> dict[str, Any]:
    secure = service.settings.behind_https or request.url.scheme == "https"
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": secure}


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


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("transfusion_api", "pages"), autoescape=select_autoescape(), trim_blocks=True
    )


def _page(template: str, *, status: int = 200, **words: Any) -> HTMLResponse:
    return HTMLResponse(_templates().get_template(template).render(**words), status)
