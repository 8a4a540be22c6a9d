"""Who may do what: API keys with roles in service mode; an embedded service answers its own machine (border.py)."""

import os
from collections.abc import Callable
from typing import Literal

from fastapi import Depends, Request
from fastapi.params import Depends as Dependency

from transfusion_api.service import Service, service_of
from transfusion_core.db import api_keys
from transfusion_core.errors import NotAllowed, NotAuthenticated
from transfusion_core.settings import Settings

Role = Literal["read", "write", "admin"]
RANKS: dict[str, int] = {"read": 0, "write": 1, "admin": 2}
"""Each role may do what the roles below it may."""


def needs(role: Role) -> Dependency:
    """The dependency of routes that take a key of at least this role."""
    dependency: Dependency = Depends(_CHECKS[role])
    return dependency


def role_of(request: Request) -> str | None:
    """The role that the request's key gives; None without a key that is known, not expired and not revoked."""
    service = service_of(request)
    if service.settings.mode == "embedded":
        return "admin"
    scheme, _, presented = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not presented:
        return None
    key = api_keys.verify(service.engine, presented.strip())
    return key.role if key else None


def _check(role: Role) -> Callable[[Request], None]:
    def allowed(request: Request) -> None:
        given = role_of(request)
        if given is None:
            raise NotAuthenticated
        if RANKS[given] < RANKS[role]:
            raise NotAllowed(f"this needs a key of role {role!r}; yours is {given!r}")

    return allowed


_CHECKS: dict[Role, Callable[[Request], None]] = {role: _check(role) for role in ("read", "write", "admin")}


def ensure_admin_key(service: Service) -> None:
    """Make the first admin key, keep it where the settings say, and print it once."""
    settings = service.settings
    given = _given_key(settings)
    made = api_keys.ensure_admin(service.engine, given)
    if made and given is None:
        _keep(settings, made)
        print(f"admin key: {made}", flush=True)


def _given_key(settings: Settings) -> str | None:
    if settings.admin_key:
        return settings.admin_key.get_secret_value()
    if settings.admin_key_file and settings.admin_key_file.exists():
        return settings.admin_key_file.read_text().strip() or None
    return None


def _keep(settings: Settings, key: str) -> None:
    if settings.admin_key_file:
        settings.admin_key_file.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(settings.admin_key_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(key + "\n")
