"""What came of an attempt, written into its row: the result, or what the policy of its reason says."""

from collections.abc import Callable, Sequence
from enum import Enum

from sqlalchemy import Engine

from transfusion_core.db import jobs
from transfusion_core.faultpoints import faultpoint
from transfusion_core.settings import Settings
from transfusion_core.specs.job import Bundle, TrainJob
from transfusion_worker.mailbox import Mailbox
from transfusion_worker.policy import POLICIES, Policy


class End(Enum):
    """Why a supervisor wants its child to end before the job is done."""

    CANCEL = "cancel"
    RELEASE = "release"
    FENCED = "fenced"
    LEASE = "lease"
    HANG = "hang"


class Ending:
    """Writes for one attempt. Each method says at which queues jobs can start now, and raises Fenced."""

    def __init__(
        self,
        engine: Engine,
        claimed: jobs.ClaimedJob,
        *,
        settings: Settings,
        mail: Mailbox,
        forget: Callable[[Sequence[Bundle]], None],
    ) -> None:
        """`forget` removes bundles that no row names, without being waited for."""
        self._engine, self._claimed, self._settings, self._mail = engine, claimed, settings, mail
        self._forget = forget
        self._id, self._attempt = claimed.id, claimed.attempt

    def mail(self) -> None:
        """Write what the child said, then remove the bundles that no row names any more."""
        self._forget(self._mail.write(self._engine, self._id, self._attempt))

    def told(self, end: End | None) -> list[str]:
        """The child said how it ended."""
        self.mail()
        if self._mail.result is not None:
            return self._succeeded()
        assert self._mail.failure is not None
        if self._mail.failure["reason"] == "cancelled":
            return self.stopped(end, self._mail.failure["error"])
        return self._failed()

    def died(self, how: str, output: Sequence[str]) -> list[str]:
        """The child died without a word: its last lines are kept, and it is tried again or given up."""
        self._mail.lines += output
        self.mail()
        return self._crashed(how)

    def stopped(self, end: End | None, error: str) -> list[str]:
        """The child stopped because it was asked to, or says so."""
        if end is End.CANCEL:
            faultpoint("cancel")
            return jobs.cancelled(self._engine, self._id, self._attempt)
        if end is End.RELEASE:
            faultpoint("release")
            return jobs.release(self._engine, self._id, self._attempt)
        error = f"nobody asked it to stop: {error}"
        return jobs.fail(self._engine, self._id, self._attempt, reason="bug", error=error, detail=None)

    def put_off(self, error: str) -> list[str]:
        """Something that the job needs is away or full: again later, and given up after many times without progress."""
        handover = self._mail.handover
        if handover.outages + 1 >= self._settings.max_outages:
            error = f"Tried {handover.outages + 1} times. The last time: {error}"
            return jobs.fail(self._engine, self._id, self._attempt, reason="infrastructure", error=error)
        pause_seconds = jobs.pause_before(self._settings.retry_seconds, handover.outages)
        jobs.add_log(self._engine, self._id, self._attempt, [f"tried again in {pause_seconds:g} s: {error}"])
        after = handover.after_outage()
        return jobs.put_off(self._engine, self._id, self._attempt, handover=after, pause_seconds=pause_seconds)

    def _succeeded(self) -> list[str]:
        assert self._mail.result is not None
        faultpoint("result")
        queues = jobs.succeed(self._engine, self._id, self._attempt, self._mail.result)
        faultpoint("applied")
        self._forget(self._mail.handover.bundles)
        return queues

    def _failed(self) -> list[str]:
        failure = self._mail.failure
        assert failure is not None
        policy = POLICIES[failure["reason"]]
        if policy is Policy.AGAIN:
            return self.put_off(failure["error"]) if failure["is_outage"] else self._crashed(failure["error"])
        if policy is Policy.SMALLER and self._take_smaller_parts():
            faultpoint("memory")
            return jobs.release(self._engine, self._id, self._attempt)
        reason, error, detail = failure["reason"], failure["error"], failure["detail"]
        return jobs.fail(self._engine, self._id, self._attempt, reason=reason, error=error, detail=detail)

    def _crashed(self, error: str) -> list[str]:
        return jobs.crash(
            self._engine,
            self._id,
            self._attempt,
            max_crashes=self._settings.max_crashes,
            retry_seconds=self._settings.retry_seconds,
            error=error,
        )

    def _take_smaller_parts(self) -> bool:
        """Have the next attempt take its batches in smaller parts, in a fresh process; False where it cannot."""
        if self._claimed.kind != "train":
            return False
        batch_size = TrainJob.read(self._claimed.spec).training.batch_size
        halved = self._mail.handover.halved(batch_size)
        if halved is None:
            return False
        jobs.hand_over(self._engine, self._id, self._attempt, halved)
        parts = halved.micro_batch(batch_size)
        line = f"out of memory: the next attempt takes {parts} images of {batch_size} at a time"
        jobs.add_log(self._engine, self._id, self._attempt, [line])
        return True
