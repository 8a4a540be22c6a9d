"""The outermost layer of the app: request ids, safe headers, names that it may be called by, how many requests at once,
how long a reader may take, and plain 413s.
"""

import asyncio
import ipaddress
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from functools import lru_cache
from urllib.parse import urlsplit

import anyio
from fastapi import Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from transfusion_api.problems import is_vanished_reader, of_error, problem
from transfusion_api.service import Service
from transfusion_core.errors import TooManyRequests
from transfusion_core.logs import about

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBE = "/healthz"
"""Says that the process lives, and nothing else: it is answered when all places are taken, or a full service would be
taken for a dead one and started anew."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with "no-referrer" browsers send "Origin: null" with our own forms
    "X-Frame-Options": "DENY",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Pages run our own files and load nothing from anywhere else; only styles, which Vega writes, may stand inside."""


class Border:
    """Wraps the whole app, outside of the framework's own middleware."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app = app
        self.service = service
        self.embedded = service.settings.mode == "embedded"
        self.allowed_hosts = frozenset(service.settings.allowed_hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it before the app sees it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["transfusion.request_id"] = request_id = uuid.uuid4().hex
        headed = _Headed(send, request_id, patience_seconds=self.service.settings.body_seconds)
        request = Request(scope)
        with about(request=request_id):
            refused = self._refusal(request)
            if refused:
                code, status, detail = refused
                await problem(request, status, code, detail)(scope, receive, headed.send)
                return
            with self._watched(request, headed):
                await self._answer(request, receive, headed)

    async def _answer(self, request: Request, receive: Receive, headed: "_Headed") -> None:
        try:
            async with self._place(request):
                await self.app(request.scope, receive, headed.send)
        except TooManyRequests as error:
            await of_error(request, error)(request.scope, receive, headed.send)
        except Exception as error:
            if not is_vanished_reader(error):
                raise
        if headed.too_large:
            answer = problem(request, 413, "too_large", "The request body is larger than this service takes.")
            await answer(request.scope, receive, headed.send_on)

    @contextmanager
    def _watched(self, request: Request, headed: "_Headed") -> Iterator[None]:
        """Trace the request and measure it, under the route that takes it: an address may hold any words."""
        began, method = time.perf_counter(), request.method if request.method in METHODS else "other"
        parent = request.headers.get("traceparent")
        with self.service.tracing.span(method, parent=parent, request=headed.request_id) as span:
            request.scope["transfusion.traceparent"] = span.traceparent
            try:
                yield
            finally:
                route = getattr(request.scope.get("route"), "path", "none")
                seconds = (headed.began_at or time.perf_counter()) - began
                self.service.metrics.request(method, route, headed.status, seconds)
                span.rename(f"{method} {route}")
                span.tell(status=headed.status)

    def _place(self, request: Request) -> AbstractAsyncContextManager[None]:
        if request.scope["path"] == PROBE:
            return nullcontext()
        limits = self.service.limits
        places = limits.streams if request.scope["path"].endswith("/events") else limits.requests
        return places.taken_by(request.client.host if request.client else "")

    def _refusal(self, request: Request) -> tuple[str, int, str] | None:
        if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
            return "invalid", 422, "NUL characters are not taken in addresses."
        if self.embedded and not _is_local(request):
            return "not_allowed", 403, "An embedded service answers its own machine only, at 127.0.0.1 or localhost."
        # Probes call by an address that no setting can know, and are told nothing but that the process lives.
        named = request.scope["path"] == PROBE or _host_name(request.headers.get("host", "")) in self.allowed_hosts
        if self.allowed_hosts and not named:
            return "not_allowed", 403, "This service is not called by this name."
        if not _same_origin(request.headers):
            return "not_allowed", 403, "Pages of other origins may not use this service."
        return None


def _is_local(request: Request) -> bool:
    """From a loopback address and to a loopback name: a foreign page that rebinds its name to 127.0.0.1 is refused."""
    name = _host_name(request.headers.get("host", ""))
    return name in LOCAL_NAMES and request.client is not None and _is_loopback(request.client.host)


@lru_cache(maxsize=1024)
def _host_name(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # brackets that are not closed
        return None


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _same_origin(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")


class _Headed:
    """Adds headers to the answer, and holds back the framework's plain-text 413, which is no problem document."""

    def __init__(self, send: Send, request_id: str, *, patience_seconds: float) -> None:
        self._send = send
        self.status = 500
        self.began_at: float | None = None
        """When the answer began."""
        self._patience_seconds = patience_seconds
        self.request_id = request_id
        self.too_large = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            plain = Headers(raw=message["headers"]).get("content-type", "").startswith("text/plain")
            self.too_large = message["status"] == 413 and plain
        if not self.too_large:
            await self.send_on(message)

    async def send_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers["X-Request-Id"] = self.request_id
            self.status, self.began_at = message["status"], time.perf_counter()
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("Content-Security-Policy", PAGE_POLICY)
        try:
            async with asyncio.timeout(self._patience_seconds):
                await self._send(message)
        except TimeoutError as error:
            raise anyio.BrokenResourceError from error
