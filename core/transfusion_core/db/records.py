"""The records that stand for job rows outside this package."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Self

from transfusion_core.db.tables import Job
from transfusion_core.specs.experiment import Experiment
from transfusion_core.specs.job import Handover, Origin


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as it stands."""

    id: str
    key: str
    kind: str
    queue: str
    spec: dict[str, Any]
    labels: dict[str, Any]
    state: str
    reason: str | None
    error: str | None
    detail: dict[str, Any] | None
    priority: int
    needs_success: bool
    shared: bool
    attempt: int
    crashes: int
    worker: str | None
    cancel_requested: bool
    progress: dict[str, Any] | None
    result: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, row: Job) -> Self:
        """The record of a row."""
        return cls(**{field.name: getattr(row, field.name) for field in fields(cls)})


@dataclass(frozen=True, kw_only=True)
class NeededJob:
    """A job that a claimed one needs, ended."""

    id: str
    key: str
    kind: str
    state: str
    reason: str | None
    error: str | None
    spec: dict[str, Any]
    result: dict[str, Any] | None


@dataclass(frozen=True, kw_only=True)
class ClaimedJob:
    """A job that this worker may do, until its lease ends."""

    id: str
    key: str
    kind: str
    spec: dict[str, Any]
    labels: dict[str, Any]
    attempt: int
    """The fencing token: every write names it."""
    crashes: int
    queue: str
    needs: list[NeededJob]
    handover: Handover
    origin: Origin


@dataclass(frozen=True)
class Beat:
    """What the database answers a worker's sign of life."""

    cancel_requested: bool


@dataclass(frozen=True)
class Created:
    """Something that now exists, and the queues whose workers should look."""

    id: str
    queues: list[str]
    is_new: bool = True
    made: Experiment | None = None
    """A new experiment, as it stands."""


@dataclass(frozen=True)
class Point:
    """One value of one curve; None where it is not a finite number."""

    step: int
    name: str
    split: str
    value: float | None
