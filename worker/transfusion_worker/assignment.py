"""What a supervisor tells its child about the job, as plain JSON: all it needs, no credentials but the store's."""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from transfusion_core.settings import Settings
from transfusion_core.specs.job import Handover

SECRETS = frozenset({"database_url", "broker_url", "admin_key", "admin_key_file", "secret"})
"""Settings that no child gets to know."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """A job that this one needs, and what came of it."""

    id: str
    key: str
    kind: str
    state: str
    spec: dict[str, Any]
    result: dict[str, Any] | None
    reason: str | None = None
    error: str | None = None
    """Why it failed, in a sentence."""


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt at one job."""

    job_id: str
    attempt: int
    kind: str
    spec: dict[str, Any]
    needs: list[Need] = field(default_factory=list)
    settings: dict[str, Any]
    """Settings without `SECRETS`, as JSON."""
    scratch: str
    """A folder of this attempt alone; the supervisor removes it."""
    device: str
    """`cpu`, `cuda`, `cuda:N`, or `auto`."""
    threads: int
    handover: Handover = field(default_factory=Handover)

    def message(self) -> dict[str, Any]:
        """This as JSON."""
        return asdict(self) | {"handover": self.handover.model_dump(mode="json")}

    @classmethod
    def read(cls, message: dict[str, Any]) -> Self:
        """This from JSON."""
        handover = Handover.model_validate(message["handover"])
        return cls(**(message | {"needs": [Need(**need) for need in message["needs"]], "handover": handover}))


def open_settings(settings: Settings) -> dict[str, Any]:
    """The settings that a child may know."""
    return settings.model_dump(mode="json", exclude=set(SECRETS))
