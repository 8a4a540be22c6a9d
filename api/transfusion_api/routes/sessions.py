"""Logging in to the pages: a browser trades an API key for a session in a cookie, which ends with the key.

The cookie alone reads and nothing else. What changes things brings a token besides, made of the session, that only our
pages hold: a foreign page has neither.
"""

import hmac
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from transfusion_api.auth import COOKIE, Caller, address_of, form_token, scope_for
from transfusion_api.body import taken
from transfusion_api.routes.pages import log_in_page
from transfusion_api.service import Service, Serving, service_of
from transfusion_core.db import api_keys, web_sessions
from transfusion_core.errors import InvalidRequest, NotAllowed

router = APIRouter(include_in_schema=False)
MAX_FORM_BYTES = 10_000
_FORM = "application/x-www-form-urlencoded"


async def _counted(request: Request) -> None:
    """Count an attempt to log in before its body is read: nobody needs a key to send one."""
    service_of(request).limits.rate.take(address_of(request))


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


@router.post("/login", dependencies=[Depends(_counted)], max_body_size=MAX_FORM_BYTES)
def log_in(service: Serving, request: Request, fields: Form) -> Response:
    """Begin a session with an API key."""
    key = api_keys.verify(service.engine, service.secret, fields.get("key", "").strip())
    if key is None:
        return log_in_page(request, status=401, fault="This is no key of this service, or it has ended.")
    token = web_sessions.create(scope_for(request, Caller(key.id, key.project, key.role)))
    answer = RedirectResponse(_page_after(fields.get("next", "")), 303)
    answer.set_cookie(COOKIE, token, max_age=web_sessions.LIFETIME_SECONDS, **_cookie(service, request))
    return answer


@router.post("/logout", max_body_size=MAX_FORM_BYTES)
def log_out(service: Serving, request: Request, fields: Form) -> Response:
    """End the session."""
    token = request.cookies.get(COOKIE, "")
    if not hmac.compare_digest(form_token(service, token).encode(), fields.get("csrf", "").encode()):
        raise NotAllowed("this form was not made by this service for this session; go back to the first page")
    key = web_sessions.key_of(service.engine, token)
    if key:
        web_sessions.end(scope_for(request, Caller(key.id, key.project, key.role)), token)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(COOKIE, **_cookie(service, request))
    return answer


def _page_after(path: str) -> str:
    """The page that was asked for before; one of ours, never another site's."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\", "/login")) and path.isprintable()
    return path if is_ours else "/"


def _cookie(service: Service, request: Request) -> dict[str, Any]:
    secure = service.settings.behind_https or request.url.scheme == "https"
    return {"path": "/", "httponly": True, "samesite": "strict", "secure": secure}
