"""What a child says, gathered until it is written: many small messages make few transactions."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from transfusion_core.db import jobs


@dataclass
class Mailbox:
    """Progress, points and lines that are not in the database yet, and how the child says it ended."""

    progress: dict[str, Any] | None = None
    points: list[jobs.Point] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
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
        elif "result" in message:
            self.result = message["result"]
        else:
            self.failure = message["failure"]

    def write(self, engine: Engine, job_id: str, attempt: int) -> None:
        """Write points and lines; what cannot be written now stays. Raises Fenced."""
        if self.points:
            jobs.add_points(engine, job_id, attempt, self.points)
            self.points = []
        if self.lines:
            jobs.add_log(engine, job_id, attempt, self.lines)
            self.lines = []
