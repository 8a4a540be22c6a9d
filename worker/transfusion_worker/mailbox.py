"""What a child says, gathered until it is written: many small messages make few transactions."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from transfusion_core.db import jobs
from transfusion_core.faultpoints import faultpoint
from transfusion_core.specs.job import Bundle, Handover


@dataclass
class Mailbox:
    """Progress, points, lines and bundles that are not in the database yet, and how the child says it ended."""

    handover: Handover
    """As the database has it."""
    progress: dict[str, Any] | None = None
    points: list[jobs.Point] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bundles: list[Bundle] = field(default_factory=list)
    result: dict[str, Any] | None = None
    failure: dict[str, Any] | None = None

    def take(self, message: dict[str, Any]) -> None:
        """Keep one message of the child."""
        if "progress" in message:
            self.progress = message["progress"]
        elif "points" in message:
            self.points += [jobs.Point(**point) for point in message["points"]]
        elif "log" in message:
            self.lines.append(message["log"])
        elif "bundle" in message:
            self.bundles.append(Bundle.model_validate(message["bundle"]))
        elif "result" in message:
            self.result = message["result"]
        else:
            self.failure = message["failure"]

    def write(self, engine: Engine, job_id: str, attempt: int) -> list[Bundle]:
        """Write points, lines and bundles; what cannot be written now stays. The bundles that nothing names any more.

        Raises Fenced.
        """
        if self.points:
            jobs.add_points(engine, job_id, attempt, self.points)
            self.points = []
        if self.lines:
            jobs.add_log(engine, job_id, attempt, self.lines)
            self.lines = []
        dropped: list[Bundle] = []
        handover = self.handover
        for bundle in self.bundles:
            handover, older = handover.with_bundle(bundle)
            dropped += older
        if self.bundles:
            faultpoint("pointer")
            jobs.hand_over(engine, job_id, attempt, handover)
            faultpoint("pointed")
            self.handover, self.bundles = handover, []
        return dropped
