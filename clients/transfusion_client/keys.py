"""API keys, for admins."""

from collections.abc import Iterator

from transfusion_client.connection import Connection
from transfusion_core.specs.base import Record
from transfusion_core.specs.quota import Account, Quota


class Key(Record):
    """An API key, without its secret."""

    id: str
    name: str
    role: str
    project: str | None = None
    created_at: str | None = None
    expires_at: str | None = None
    account: Account | None = None
    """Its quota, and what is used of it."""


class NewKey(Key):
    """An API key with its secret, which is shown once."""

    key: str


class AuditEvent(Record):
    """Who did what, and when."""

    id: str
    at: str
    actor: str
    project: str
    action: str
    subject: str
    request_id: str | None = None


class Keys:
    """The API keys of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(
        self,
        name: str,
        *,
        role: str = "read",
        project: str | None = None,
        expires_in_days: int | None = None,
        quota: Quota | None = None,
    ) -> NewKey:
        """Make a key of role read, write or admin. Its secret is in the answer, and nowhere else.

        Keys of one project share what they make; without one the key has a project of its own. A `quota` bounds its
        jobs at work at once, GPU-hours and bytes in the store.
        """
        limits = quota.model_dump(mode="json") if quota else None
        given = {"project": project, "expires_in_days": expires_in_days, "quota": limits}
        body = {"name": name, "role": role, **{word: value for word, value in given.items() if value is not None}}
        return self._connection.read(NewKey, self._connection.post("/v1/keys", body))

    def list(self) -> Iterator[Key]:
        """Every key that is not revoked."""
        return (self._connection.read(Key, item) for item in self._connection.pages("/v1/keys"))

    def revoke(self, key_id: str) -> None:
        """End a key at once."""
        self._connection.delete(f"/v1/keys/{key_id}")

    def audit(self) -> Iterator[AuditEvent]:
        """Who did what, the newest first."""
        return (self._connection.read(AuditEvent, item) for item in self._connection.pages("/v1/audit"))
