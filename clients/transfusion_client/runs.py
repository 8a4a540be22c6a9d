"""Runs: one training each, with curves, log, checkpoints and provenance."""

from collections.abc import Iterator, Sequence
from typing import Any

from transfusion_client.connection import Connection
from transfusion_core.specs.base import Record
from transfusion_core.specs.experiment import Run
from transfusion_core.specs.training import Series


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

    def checkpoints(self, run_id: str) -> Sequence[Checkpoint]:
        """Its checkpoints, with links to download them."""
        pages = self._connection.pages(f"/v1/runs/{run_id}/checkpoints")
        return [self._connection.read(Checkpoint, item) for item in pages]

    def manifest(self, run_id: str) -> dict[str, Any] | None:
        """Where its numbers come from: spec, seeds, code, environment, digests. None until it has ended."""
        found: dict[str, Any] | None = self._connection.get(f"/v1/runs/{run_id}/manifest")["manifest"]
        return found
