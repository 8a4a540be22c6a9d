"""Runs: one training each, with curves, log, checkpoints and provenance."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transfusion_client.connection import Connection
from transfusion_client.events import Event, follow
from transfusion_client.waiting import ENDED, wait_until_ended
from transfusion_core.errors import NotFound
from transfusion_core.specs.base import Record
from transfusion_core.specs.experiment import Run
from transfusion_core.specs.training import Filters, Series

LOG_SECONDS = 1.0
"""Between two looks at a log that is followed."""


class Checkpoint(Record):
    """A checkpoint and where to download it."""

    step: int
    name: str
    bytes: int
    sha256: str
    url: str | None = None
    """A signed link that ends soon, or a route of the service that takes the same API key."""


class Runs:
    """The trainings of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, run_id: str) -> Run:
        """One run; NotFound if there is none."""
        return self._connection.read(Run, self._connection.get(f"/v1/runs/{run_id}"))

    def list(self, **filters: object) -> Iterator[Run]:
        """Every run, the pages fetched as needed; filters are the route's: experiment, model, init, dataset, state."""
        return (self._connection.read(Run, item) for item in self._connection.pages("/v1/runs", **filters))

    def metrics(self, run_id: str) -> Sequence[Series]:
        """Its curves."""
        answer = self._connection.get(f"/v1/runs/{run_id}/metrics")
        return [self._connection.read(Series, each) for each in answer["series"]]

    def log(self, run_id: str) -> Sequence[str]:
        """Its log, the oldest line first."""
        lines: Sequence[str] = self._connection.get(f"/v1/runs/{run_id}/log")["lines"]
        return lines

    def filters(self, run_id: str) -> Filters | None:
        """The filters of its first convolution as pictures, before and after; None where there are none, or not yet."""
        answer = self._connection.get(f"/v1/runs/{run_id}/filters")["filters"]
        return None if answer is None else self._connection.read(Filters, answer)

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """Its checkpoints, with links to download them."""
        pages = self._connection.pages(f"/v1/runs/{run_id}/checkpoints")
        return [self._connection.read(Checkpoint, item) for item in pages]

    def download(self, run_id: str, checkpoint: str = "final", *, to: str | Path) -> Path:
        """Stream a checkpoint (`init`, `final` or a step) into a file; its sha256 is checked. NotFound names others."""
        kept = {each.name: each for each in self.checkpoints(run_id)}
        if checkpoint not in kept:
            raise NotFound(f"run {run_id} has no checkpoint {checkpoint!r}; it has {', '.join(kept) or 'none'}")
        path = Path(to).expanduser().absolute()
        url = kept[checkpoint].url or f"/v1/runs/{run_id}/checkpoints/{checkpoint}"
        self._connection.download(url, path, sha256=kept[checkpoint].sha256)
        return path

    def events(self, run_id: str, last_event_id: str | None = None) -> Iterator[Event]:
        """What happens to a run, until it has ended; cuts are outlived."""
        return follow(self._connection, f"/v1/runs/{run_id}/events", last_event_id=last_event_id)

    def follow_log(self, run_id: str) -> Iterator[str]:
        """Its log line by line as it is written, until the run has ended; cuts are outlived."""
        seen: list[str] = []
        fresh: list[str] = []

        def look() -> Run:
            run = self.get(run_id)  # before the log: what is written before the end is read after it
            nonlocal seen
            lines = list(self.log(run_id))
            kept = next(n for n in range(min(len(seen), len(lines)), -1, -1) if lines[:n] == seen[len(seen) - n :])
            fresh.extend(lines[kept:])
            seen = lines
            return run

        clock = self._connection.clock
        ended = False
        while not ended:
            run = wait_until_ended(look, lambda run: "succeeded", clock=clock, what=f"run {run_id}")
            yield from fresh
            fresh.clear()
            ended = run.state in ENDED
            if not ended:
                clock.sleep(LOG_SECONDS)

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        """Where its numbers come from: spec, seeds, code, environment, digests. None until it has ended."""
        found: dict[str, Any] | None = self._connection.get(f"/v1/runs/{run_id}/manifest")["manifest"]
        return found
