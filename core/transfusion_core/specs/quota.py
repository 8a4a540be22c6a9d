"""What an API key may use of a service, and what it has used."""

from pydantic import Field

from transfusion_core.specs.base import Record, Spec

GPU_DAYS = 30
"""Hours of GPU are those of so many days up to now."""


class Quota(Spec):
    """The most that a key may use; what is not given is not limited."""

    running_jobs: int | None = Field(default=None, ge=1)
    """Jobs at work at once; others wait in the queue."""
    gpu_hours: float | None = Field(default=None, ge=0)
    """In 30 days, of jobs that GPU workers do, an hour on four GPUs as four. Beyond that nothing new is taken; what was
    taken is done."""
    stored_bytes: int | None = Field(default=None, ge=0)
    """In the store, of what its jobs have made. Beyond that nothing new is taken."""

    def exceeded(self, used: "Usage") -> list[str]:
        """Why nothing more may be asked for; empty where something may."""
        faults = []
        if self.gpu_hours is not None and used.gpu_hours >= self.gpu_hours:
            faults.append(f"{used.gpu_hours:g} of {self.gpu_hours:g} GPU-hours of the last {GPU_DAYS} days are used")
        if self.stored_bytes is not None and used.stored_bytes >= self.stored_bytes:
            faults.append(f"{used.stored_bytes} of {self.stored_bytes} bytes in the store are used")
        return faults


class Usage(Record):
    """What a key has used. A job is on the account of the key that first asked for it."""

    running_jobs: int
    gpu_hours: float
    """Of the last 30 days."""
    stored_bytes: int


class Account(Record):
    """A quota and what is used of it."""

    quota: Quota
    used: Usage

    def short_of(self, *, gpu_hours: float, stored_bytes: int) -> list[str]:
        """What something that takes so much more would exceed, in words."""
        told = self.quota.exceeded(self.used)
        if told:
            return [f"{words}: nothing new is taken" for words in told]
        found = []
        if self.quota.gpu_hours is not None and self.used.gpu_hours + gpu_hours > self.quota.gpu_hours:
            left = self.quota.gpu_hours - self.used.gpu_hours
            found.append(f"about {gpu_hours:.1f} GPU-hours are needed, of a small CPU's speed, and {left:.1f} are left")
        if self.quota.stored_bytes is not None and self.used.stored_bytes + stored_bytes > self.quota.stored_bytes:
            left_bytes = self.quota.stored_bytes - self.used.stored_bytes
            found.append(f"about {stored_bytes} bytes will be stored, and {left_bytes} are left")
        return found
