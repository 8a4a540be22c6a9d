"""Errors as RFC 9457 problem documents: all faults at once, a stable code, the request's id."""

import errno
import logging
import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import anyio
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from transfusion_core.errors import InvalidRequest, NotAuthenticated, TooManyRequests, TransfusionError, Unavailable
from transfusion_core.specs.base import Record
from transfusion_core.specs.fault import Fault, pointer

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
MAX_FAULTS = 200
"""More faults than this say nothing new."""
CODES = {
    401: "not_authenticated",
    403: "not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
}
"""Codes of the errors that the framework raises."""


class Problem(Record):
    """An error, as RFC 9457 writes it, with every fault of the request."""

    type: str
    title: str
    status: int
    code: str
    """Stable; the client raises the error class of this code."""
    detail: str
    request_id: str | None = None
    errors: list[Fault] = []


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of the problems that a route answers; every route may refuse a key or a parameter, or
    find that the store has lost or spoilt what it needs.
    """
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    found: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({401, 403, 422, 429, 502, 503, *statuses})
    }
    return found


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    faults: Sequence[Fault] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The problem document of one request."""
    body = Problem(
        type=f"urn:transfusion:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=request.scope.get("transfusion.request_id"),
        errors=list(faults)[:MAX_FAULTS],
    )
    return JSONResponse(body.model_dump(mode="json"), status, dict(headers or {}), media_type=MEDIA_TYPE)


def of_error(request: Request, error: Exception) -> Response:
    """One of our own errors."""
    assert isinstance(error, TransfusionError)
    headers = {"Retry-After": "2"} if isinstance(error, Unavailable) else {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_seconds)))
    if isinstance(error, NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if error.status >= 500:
        trace = None if isinstance(error, Unavailable) else error
        _log.error("%s %s: %s", request.method, request.url.path, error.detail, exc_info=trace)
    return problem(request, error.status, error.code, error.detail, faults=error.faults, headers=headers)


def of_parameters(request: Request, error: Exception) -> Response:
    """Parameters that FastAPI refused; the pointer begins with where they stood: /query/limit."""
    assert isinstance(error, RequestValidationError)
    faults = [Fault(pointer=pointer(each["loc"]), message=each["msg"]) for each in error.errors()]
    return problem(request, 422, InvalidRequest.code, "The request's parameters are not valid.", faults=faults)


def of_http(request: Request, error: Exception) -> Response:
    """What the framework refuses: unknown paths, other methods, bodies that are too large."""
    assert isinstance(error, HTTPException)
    code = CODES.get(error.status_code, "invalid")
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return problem(request, error.status_code, code, detail, headers=error.headers)


def of_system(request: Request, error: Exception) -> Response:
    """A disk that is full, where bodies are put down; any other error of the system is a mistake of ours."""
    assert isinstance(error, OSError)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        raise error
    return of_error(request, Unavailable("the disk of this service is full"))


def of_bug(request: Request, error: Exception) -> Response:
    """Our own mistakes: the log has the trace, the answer only the request's id."""
    request_id = request.scope.get("transfusion.request_id")
    if not is_vanished_reader(error):
        _log.error("%s %s: request %s", request.method, request.url.path, request_id, exc_info=error)
    return problem(request, 500, "internal", "Something went wrong in the service; its log knows this request id.")


def is_vanished_reader(error: BaseException) -> bool:
    """Whether a reader took nothing for too long, or hung up while the next event of a stream was on its way."""
    if isinstance(error, BaseExceptionGroup):
        return error.split(anyio.BrokenResourceError)[1] is None
    return isinstance(error, anyio.BrokenResourceError)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem."""
    app.add_exception_handler(TransfusionError, of_error)
    app.add_exception_handler(RequestValidationError, of_parameters)
    app.add_exception_handler(ResponseValidationError, of_bug)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(OSError, of_system)
    app.add_exception_handler(Exception, of_bug)
