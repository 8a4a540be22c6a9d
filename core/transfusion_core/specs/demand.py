"""What jobs need of a worker."""

from transfusion_core.specs.base import Record


class Demand(Record):
    """What the jobs of one queue need: together, and the largest of them."""

    queue: str
    jobs: int
    minutes: float
    """Of all, one after the other on a small CPU; rough."""
    gpus: int
    """Of the job that needs most, where workers have GPUs."""
    memory_bytes: int
    """Of the job that needs most, at its whole batch; within a factor of two. With less, batches are taken in parts."""
    label: str
    """The job that needs so much memory."""
