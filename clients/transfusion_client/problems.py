"""From an answer that is an error to the error class that the service raised."""

import json
from typing import Any

import httpx2
from pydantic import ValidationError

from transfusion_core.errors import (
    Conflict,
    InvalidRequest,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    TooLarge,
    TooManyRequests,
    TransfusionError,
    Unavailable,
    by_code,
)
from transfusion_core.specs.fault import Fault

NEAREST: dict[int, type[TransfusionError]] = {
    400: InvalidRequest,
    401: NotAuthenticated,
    403: NotAllowed,
    404: NotFound,
    405: InvalidRequest,
    408: Unavailable,
    409: Conflict,
    413: TooLarge,
    422: InvalidRequest,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}
"""The class of an error whose code this client does not know; other statuses are plain TransfusionErrors."""
EXCERPT_CHARACTERS = 200


def error_of(response: httpx2.Response) -> TransfusionError:
    """The error behind an answer of status 400 or more (or a redirect, which this client does not follow)."""
    body = _problem(response)
    kind = by_code().get(str(body.get("code"))) or NEAREST.get(response.status_code, TransfusionError)
    detail = str(body.get("detail") or body.get("title") or _excerpt(response))
    request_id = body.get("request_id") or response.headers.get("x-request-id")
    return kind(detail, faults=_faults(body), request_id=request_id)


def _problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return body if isinstance(body, dict) else {}


def _faults(body: dict[str, Any]) -> list[Fault]:
    found = body.get("errors")
    try:
        return [Fault.model_validate(each) for each in found] if isinstance(found, list) else []
    except ValidationError:
        return []


def _excerpt(response: httpx2.Response) -> str:
    text = " ".join(response.text.split())[:EXCERPT_CHARACTERS]
    request = response.request
    return f"{request.method} {request.url} answered {response.status_code} without a problem document: {text}"
