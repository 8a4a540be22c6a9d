"""API keys, for admins."""

from collections.abc import Iterator

from transfusion_client.connection import Connection
from transfusion_core.specs.base import Record


class Key(Record):
    """An API key, without its secret."""

    id: str
    name: str
    role: str
    created_at: str | None = None
    expires_at: str | None = None


class NewKey(Key):
    """An API key with its secret, which is shown once."""

    key: str


class Keys:
    """The API keys of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str, *, role: str = "read", expires_in_days: int | None = None) -> NewKey:
        """Make a key of role read, write or admin. Its secret is in the answer, and nowhere else."""
        body = {"name": name, "role": role}
        expiry = {} if expires_in_days is None else {"expires_in_days": expires_in_days}
        return self._connection.read(NewKey, self._connection.post("/v1/keys", {**body, **expiry}))

    def list(self) -> Iterator[Key]:
        """Every key that is not revoked."""
        return (self._connection.read(Key, item) for item in self._connection.pages("/v1/keys"))

    def revoke(self, key_id: str) -> None:
        """End a key at once."""
        self._connection.delete(f"/v1/keys/{key_id}")
