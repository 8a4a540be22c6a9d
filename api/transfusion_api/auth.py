"""Who asks, and what they may do: API keys with roles in service mode; an embedded service answers its own machine.

`Scoped` is how a route reaches what projects own: the rows of the project of whoever asks, and no others.
"""

import hashlib
import hmac
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from transfusion_api.service import Service, service_of
from transfusion_core.db import api_keys, web_sessions
from transfusion_core.db.scope import LOCAL, Scope
from transfusion_core.errors import InvalidRequest, NotAllowed, NotAuthenticated
from transfusion_core.settings import Settings

Role = Literal["read", "write", "admin"]
RANKS: dict[str, int] = {"read": 0, "write": 1, "admin": 2}
"""Each role may do what the roles below it may."""
COOKIE = "transfusion_session"
MIN_KEY_CHARACTERS = 32
"""Of an admin key that is given: whoever guesses it has everything."""
FORM_TOKEN = "x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD"})
"""What a cookie alone is good for; what changes things brings the session's token besides (routes/sessions.py)."""


@dataclass(frozen=True)
class Caller:
    """Whoever sent a request."""

    key_id: str
    project: str
    role: Role


_OWN_MACHINE = Caller(key_id="local", project=LOCAL, role="admin")


def needs(role: Role) -> Dependency:
    """The dependency of routes that take a key of at least this role."""
    dependency: Dependency = Depends(_CHECKS[role])
    return dependency


def caller_of(request: Request) -> Caller | None:
    """Whoever the request's key, or its session, stands for; None without one that is known and has not ended.

    Raises TooManyRequests, without a look at the database, where the request's address has brought too many bad keys
    and this is none that was good lately: others that come from the address, as through a proxy, are let in meanwhile.
    """
    service = service_of(request)
    if service.settings.mode == "embedded":
        return _OWN_MACHINE
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    token = request.cookies.get(COOKIE, "")
    if scheme.lower() == "bearer" and presented:
        return _verified(request, presented, lambda: api_keys.verify(service.engine, service.secret, presented.strip()))
    if token and _may_use_cookie(service, request, token):
        return _verified(request, token, lambda: web_sessions.key_of(service.engine, token))
    return None


def _verified(request: Request, presented: str, verify: Callable[[], api_keys.ApiKey | None]) -> Caller | None:
    limits = service_of(request).limits
    if not limits.known.has(presented):
        limits.rate.check(address_of(request))
    key = verify()
    if key is None:
        limits.known.forget(presented)
        return None
    limits.known.add(presented)
    return Caller(key.id, key.project, key.role)


def address_of(request: Request) -> str:
    """What requests of one address that bring no good key are counted under."""
    return f"address {request.client.host if request.client else None}"


def _may_use_cookie(service: Service, request: Request, token: str) -> bool:
    brought = request.headers.get(FORM_TOKEN, "")
    return request.method in SAFE_METHODS or hmac.compare_digest(form_token(service, token).encode(), brought.encode())


def form_token(service: Service, token: str) -> str:
    """What a page of this session holds; nobody makes it without the cookie, which no other page can read."""
    return hmac.new(service.secret, b"form " + token.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def scope_for(request: Request, caller: Caller) -> Scope:
    """What this caller may reach."""
    request_id = request.scope.get("transfusion.request_id")
    traceparent = request.scope.get("transfusion.traceparent")
    return Scope(
        service_of(request).engine,
        caller.project,
        caller.key_id,
        request_id,
        traceparent,
        reads_only=caller.role == "read",
    )


async def _scope(request: Request) -> Scope:
    return scope_for(request, request.state.caller)


Scoped = Annotated[Scope, Depends(_scope)]


def _check(role: Role) -> Callable[[Request], Awaitable[None]]:
    async def allowed(request: Request) -> None:
        service = service_of(request)
        rate, asks_nobody = service.limits.rate, service.settings.mode == "embedded"
        caller = caller_of(request) if asks_nobody else await run_sync(caller_of, request)
        if caller is None:
            rate.take(address_of(request))
            raise NotAuthenticated
        rate.take(caller.key_id)
        if RANKS[caller.role] < RANKS[role]:
            raise NotAllowed(f"this needs a key of role {role!r}; yours is {caller.role!r}")
        request.state.caller = caller

    return allowed


_CHECKS: dict[Role, Callable[[Request], Awaitable[None]]] = {role: _check(role) for role in ("read", "write", "admin")}


async def _drawn(request: Request) -> AsyncIterator[None]:
    async with service_of(request).limits.drawings.taken():
        yield


DRAWN: Dependency = Depends(_drawn, scope="function")
"""The dependency of routes that work for long: a few at once, until their answer is ready."""


def ensure_admin_key(service: Service) -> None:
    """Make the first admin key, keep it where the settings say, and print it once.

    Raises InvalidRequest where the environment gives one that could be guessed.
    """
    settings = service.settings
    given = _given_key(settings)
    made = api_keys.ensure_admin(service.engine, service.secret, given)
    if made and given is None:
        _keep(settings, made)
        print(f"admin key: {made}", flush=True)


def _given_key(settings: Settings) -> str | None:
    if settings.admin_key:
        key = settings.admin_key.get_secret_value()
        if settings.mode == "service" and len(key) < MIN_KEY_CHARACTERS:
            raise InvalidRequest(
                f"TRANSFUSION_ADMIN_KEY has {len(key)} characters: expected {MIN_KEY_CHARACTERS} or more, at random, "
                "as of `openssl rand -hex 32`; without it a key is made"
            )
        return key
    if settings.admin_key_file and settings.admin_key_file.exists():
        return settings.admin_key_file.read_text().strip() or None
    return None


def _keep(settings: Settings, key: str) -> None:
    if settings.admin_key_file:
        settings.admin_key_file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(settings.admin_key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
