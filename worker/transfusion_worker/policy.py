"""What is done about each reason for which an attempt can fail: one table."""

from enum import Enum

from transfusion_core.specs.job import Reason


class Policy(Enum):
    """What follows a failed attempt."""

    STOP = "the job fails: the next attempt would end the same way"
    SMALLER = "a fresh process takes batches in parts of half the size, four times at most; then the job fails"
    AGAIN = (
        "again after a pause that doubles up to a minute: `max_outages` times without progress where something is away"
        " or full, `max_crashes` times where bytes are missing or wrong, or the process died; then the job fails"
    )


POLICIES: dict[Reason, Policy] = {
    "data": Policy.STOP,
    "nan": Policy.STOP,
    "bug": Policy.STOP,
    "needs_failed": Policy.STOP,
    "out_of_memory": Policy.SMALLER,
    "infrastructure": Policy.AGAIN,
}
"""A child that dies or hangs is `infrastructure`, and so is a device that fails under it. One that stopped because it
was asked to has no reason at all: the job is cancelled, or goes back to its queue and nothing is counted."""
