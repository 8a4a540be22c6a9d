"""Removals: the accounts of what was deleted."""

from collections.abc import Iterator

from transfusion_client.connection import Connection
from transfusion_core.specs.removal import Removal, RemovedObject


class Removals:
    """The removals of a service, which stay when what they tell of is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, removal_id: str) -> Removal:
        """One removal: whether it is done, and how much went."""
        return self._connection.read(Removal, self._connection.get(f"/v1/removals/{removal_id}"))

    def list(self) -> Iterator[Removal]:
        """Every removal, the newest first."""
        return (self._connection.read(Removal, item) for item in self._connection.pages("/v1/removals"))

    def objects(self, removal_id: str) -> Iterator[RemovedObject]:
        """The objects that went."""
        pages = self._connection.pages(f"/v1/removals/{removal_id}/objects")
        return (self._connection.read(RemovedObject, item) for item in pages)
