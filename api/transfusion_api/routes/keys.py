"""API keys: shown once when made, kept hashed, with a role and an expiry."""

from datetime import UTC, datetime, timedelta

from fastapi import APIRouter

from transfusion_api.answers import Id, Key, KeyRequest, NewKey, Page
from transfusion_api.auth import needs
from transfusion_api.body import Body, read, takes
from transfusion_api.problems import documented
from transfusion_api.service import Serving
from transfusion_core.db import api_keys
from transfusion_core.db.clock import rfc3339

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[needs("admin")])


@router.post("", status_code=201, responses=documented(413), openapi_extra=takes(KeyRequest))
def create_key(service: Serving, body: Body) -> NewKey:
    """Make a key. Its secret is in this answer and nowhere else."""
    wanted = read(KeyRequest, body)
    days = wanted.expires_in_days
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    made, secret = api_keys.create(service.engine, name=wanted.name, role=wanted.role, expires_at=expires_at)
    return NewKey(**_answer(made).model_dump(), key=secret)


@router.get("", responses=documented())
def list_keys(service: Serving) -> Page[Key]:
    """The keys that are not revoked, without their secrets."""
    return Page[Key](items=[_answer(key) for key in api_keys.page(service.engine) if key.revoked_at is None])


@router.delete("/{key_id}", status_code=204, responses=documented(404))
def revoke_key(service: Serving, key_id: Id) -> None:
    """Revoke a key, at once."""
    api_keys.revoke(service.engine, key_id)


def _answer(key: api_keys.ApiKey) -> Key:
    return Key(
        id=key.id,
        name=key.name,
        role=key.role,
        created_at=rfc3339(key.created_at),
        expires_at=rfc3339(key.expires_at) if key.expires_at else None,
    )
