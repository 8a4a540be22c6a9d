"""Deletions as requests make them: the rows are gone at once, the bytes as far as a request has time for."""

from contextlib import suppress

from transfusion_api.service import Service
from transfusion_core.db import removals
from transfusion_core.db.scope import Scope
from transfusion_core.errors import StoreError, Unavailable
from transfusion_core.janitor import Janitor
from transfusion_core.specs.removal import Removal

REQUEST_SECONDS = 5.0


def removed(service: Service, removal_id: str) -> Removal:
    """Take a removal's objects out of the store; what a request leaves, or a store that is away, workers go on with."""
    with suppress(StoreError, Unavailable):
        return Janitor(service.engine, service.store, service.settings).finish(removal_id, seconds=REQUEST_SECONDS)
    return removals.get(Scope(service.engine), removal_id)
