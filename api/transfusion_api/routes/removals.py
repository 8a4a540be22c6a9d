"""Removals: the account of what was deleted, for those who must show that it is gone."""

from fastapi import APIRouter

from transfusion_api.answers import Cursor, Id, Limit, Page
from transfusion_api.auth import Scoped, needs
from transfusion_api.problems import documented
from transfusion_core.db import removals
from transfusion_core.specs.removal import Removal, RemovedObject

router = APIRouter(prefix="/v1/removals", tags=["removals"], dependencies=[needs("admin")])


@router.get("", responses=documented())
def list_removals(scope: Scoped, limit: Limit = 50, cursor: Cursor = None) -> Page[Removal]:
    """Removals, the newest first."""
    page = removals.page(scope, limit=limit, cursor=cursor)
    return Page[Removal](items=page.items, next=page.next)


@router.get("/{removal_id}", responses=documented(404))
def get_removal(scope: Scoped, removal_id: Id) -> Removal:
    """One removal: whether it is done, and how much went."""
    return removals.get(scope, removal_id)


@router.get("/{removal_id}/objects", responses=documented(404))
def list_removed(scope: Scoped, removal_id: Id, limit: Limit = 50, cursor: Cursor = None) -> Page[RemovedObject]:
    """The objects that went."""
    page = removals.objects(scope, removal_id, limit=limit, cursor=cursor)
    return Page[RemovedObject](items=page.items, next=page.next)
