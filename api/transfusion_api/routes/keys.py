"""API keys, shown once when made, kept hashed, with a role, a project and an expiry; and the record of deeds."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter

from transfusion_api.answers import AuditEvent, Cursor, Id, Key, KeyRequest, Limit, NewKey, Page
from transfusion_api.auth import Scoped, needs
from transfusion_api.body import Body, read, takes
from transfusion_api.problems import documented
from transfusion_api.service import Service, Serving
from transfusion_core.db import api_keys, audit, quotas
from transfusion_core.db.clock import rfc3339
from transfusion_core.specs.quota import Account, Usage

router = APIRouter(prefix="/v1", tags=["keys"], dependencies=[needs("admin")])


@router.post("/keys", status_code=201, responses=documented(403, 408, 413), openapi_extra=takes(KeyRequest))
def create_key(service: Serving, scope: Scoped, body: Body) -> NewKey:
    """Make a key of your project, or from `default` of any. Its secret is in this answer and nowhere else."""
    wanted = read(KeyRequest, body)
    days = wanted.expires_in_days
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    made, plaintext = api_keys.create(
        scope,
        service.secret,
        name=wanted.name,
        role=wanted.role,
        project=wanted.project,
        expires_at=expires_at,
        quota=wanted.quota,
    )
    return NewKey(**_answers(service, [made])[0].model_dump(), key=plaintext)


@router.get("/keys", responses=documented())
def list_keys(service: Serving, scope: Scoped, limit: Limit = 50, cursor: Cursor = None) -> Page[Key]:
    """Your project's keys that are not revoked, the newest first, without their secrets; for `default` all."""
    page = api_keys.page(scope, limit=limit, cursor=cursor)
    return Page[Key](items=_answers(service, page.items), next=page.next)


@router.delete("/keys/{key_id}", status_code=204, responses=documented(404))
def revoke_key(scope: Scoped, key_id: Id) -> None:
    """Revoke a key, at once."""
    api_keys.revoke(scope, key_id)


@router.get("/audit", responses=documented())
def list_audit_events(scope: Scoped, limit: Limit = 50, cursor: Cursor = None) -> Page[AuditEvent]:
    """Who did what in your project, and when, the newest first; in all for `default`. Nothing here can be changed."""
    page = audit.page(scope, limit=limit, cursor=cursor)
    items = [AuditEvent(**{**vars(event), "at": rfc3339(event.at)}) for event in page.items]
    return Page[AuditEvent](items=items, next=page.next)


def _answers(service: Service, keys: Sequence[api_keys.ApiKey]) -> list[Key]:
    used = quotas.usages(service.engine, [key.id for key in keys if key.quota])
    return [_answer(key, used.get(key.id)) for key in keys]


def _answer(key: api_keys.ApiKey, used: Usage | None) -> Key:
    return Key(
        id=key.id,
        name=key.name,
        role=key.role,
        project=key.project,
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at) if key.expires_at else None,
        account=Account(quota=key.quota, used=used) if key.quota and used else None,
    )
