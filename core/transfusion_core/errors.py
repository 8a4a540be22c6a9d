"""The errors that Transfusion raises, one tree. The class docstring is the error's default message.

    TransfusionError
    ├── InvalidRequest              422  one or more faults, each with a JSON pointer
    │   └── IdempotencyMismatch     422  same Idempotency-Key, other body
    ├── NotAuthenticated            401
    ├── NotAllowed                  403
    │   └── QuotaExceeded           403  a key has used what it may
    ├── NotFound                    404
    ├── Conflict                    409  e.g. a state move that is not legal
    │   └── NotReady                409  asked for a result that does not exist yet
    ├── TooLarge                    413
    ├── TooManyRequests             429  come back later
    ├── Unavailable                 503  the database or the store does not answer
    ├── StoreError                  502
    │   ├── ObjectMissing           404
    │   └── ObjectCorrupt           502
    ├── Fenced                      409  a worker that lost its lease tried to write
    └── JobError                    500  a job cannot be done; carries a reason
        ├── DataError                    reason "data"
        ├── Diverged                     reason "nan"
        ├── OutOfMemory                  reason "out_of_memory"
        └── JobCancelled                 stopped because it was asked to

Errors travel by `code`: the service sends it in a problem document, the client raises the same class again.
"""

from collections.abc import Sequence
from typing import ClassVar

from transfusion_core.specs.fault import Fault


class TransfusionError(Exception):
    """Something went wrong in Transfusion."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500

    def __init__(
        self, detail: str | None = None, *, faults: Sequence[Fault] = (), request_id: str | None = None
    ) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.faults = list(faults)
        self.request_id = request_id
        super().__init__("\n".join([self.detail, *(f"  {fault}" for fault in self.faults)]))


class InvalidRequest(TransfusionError):
    """The request is not valid; nothing was created."""

    code = "invalid"
    status = 422


class IdempotencyMismatch(InvalidRequest):
    """This Idempotency-Key was used before with another body."""

    code = "idempotency_mismatch"


class NotAuthenticated(TransfusionError):
    """An API key is needed: send 'Authorization: Bearer KEY'."""

    code = "not_authenticated"
    status = 401


class NotAllowed(TransfusionError):
    """This API key's role does not allow that."""

    code = "not_allowed"
    status = 403


class QuotaExceeded(NotAllowed):
    """This API key has used what it may."""

    code = "quota_exceeded"


class NotFound(TransfusionError):
    """There is nothing here by that name or id."""

    code = "not_found"
    status = 404


class Conflict(TransfusionError):
    """The request does not fit the present state."""

    code = "conflict"
    status = 409


class NotReady(Conflict):
    """The result does not exist yet."""

    code = "not_ready"


class TooLarge(TransfusionError):
    """The request body is larger than this service takes."""

    code = "too_large"
    status = 413


class TooManyRequests(TransfusionError):
    """More requests than this service takes; try again in a moment."""

    code = "too_many_requests"
    status = 429
    retry_after_seconds: float = 1.0


class Unavailable(TransfusionError):
    """A part of the service does not answer; try again."""

    code = "unavailable"
    status = 503


class StoreError(TransfusionError):
    """The object store could not do what was asked."""

    code = "store"
    status = 502


class ObjectMissing(StoreError):
    """There is no such object in the store."""

    code = "object_missing"
    status = 404


class ObjectCorrupt(StoreError):
    """The object's bytes do not have the digest that they should have."""

    code = "object_corrupt"


class Fenced(TransfusionError):
    """Another attempt owns this job now; nothing was written."""

    code = "fenced"
    status = 409


class JobError(TransfusionError):
    """The job cannot be done."""

    code = "job"
    reason: ClassVar[str] = "bug"


class DataError(JobError):
    """The data cannot be used as the spec asks."""

    code = "data"
    reason = "data"


class Diverged(JobError):
    """The training diverged: its loss is not a finite number."""

    code = "nan"
    reason = "nan"


class OutOfMemory(JobError):
    """The device has not enough memory."""

    code = "out_of_memory"
    reason = "out_of_memory"


class JobCancelled(JobError):
    """The job was asked to stop."""

    code = "cancelled"
    reason = "cancelled"


def by_code() -> dict[str, type[TransfusionError]]:
    """Every error class of the tree by its stable code."""
    found: dict[str, type[TransfusionError]] = {}
    waiting: list[type[TransfusionError]] = [TransfusionError]
    while waiting:
        error = waiting.pop()
        found[error.code] = error
        waiting.extend(error.__subclasses__())
    return found
