"""What workers have, as they say themselves."""

from typing import Any

from pydantic import Field

from transfusion_core.specs.base import Record
from transfusion_core.specs.job import Queue


class Gpu(Record):
    """A GPU that a worker may use."""

    name: str
    memory_bytes: int
    used_bytes: int
    busy: float = Field(ge=0, le=1)
    """Share of the last second or so in which it did something."""


class Equipment(Record):
    """What a worker has."""

    version: str
    queues: list[Queue]
    slots: int
    """Jobs that it does at once."""
    running: int
    cores: int
    memory_bytes: int
    """Of the machine, or of the container where that is less."""
    free_bytes: int
    """On the disk of its cache."""
    gpus: list[Gpu] = []
    gpus_per_job: int = 1
    packing: int = 1
    """Jobs that share a GPU."""

    @property
    def most_gpus(self) -> int | None:
        """What a job may need at most; None where jobs run on the processor, as those do that need several."""
        return self.gpus_per_job if self.gpus else None

    @property
    def job_memory_bytes(self) -> int:
        """What one job can have: of its GPU's memory where it has one."""
        if self.gpus:
            return min(gpu.memory_bytes for gpu in self.gpus) // self.packing
        return self.memory_bytes // max(1, self.slots)


class Worker(Equipment):
    """A worker that looks for jobs."""

    name: str
    started_at: str
    seen_at: str

    @classmethod
    def of(cls, found: dict[str, Any], **words: str) -> "Worker":
        """What a worker said of itself, lenient to what a newer one says."""
        return cls.model_validate({**found, **words})
