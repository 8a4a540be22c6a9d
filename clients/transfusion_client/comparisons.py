"""Comparisons: any two checkpoints, layer by layer. The answer is the similarity report."""

import uuid
from collections.abc import Iterator
from typing import Any

from transfusion_client.connection import Connection
from transfusion_client.waiting import wait_until_ended
from transfusion_core.specs.comparison import Comparison


class Comparisons:
    """The comparisons of a service."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, a: str, b: str, **options: Any) -> Comparison:
        """Compare two checkpoints, each `RUN@init`, `RUN@final` or `RUN@STEP`.

        Options are a ComparisonSpec's: measures, layers, layers_b, pairs, dataset, images, seed, spectra, parts. The
        answer's `results` are empty until it has succeeded: see `wait`.
        """
        body = {"a": a, "b": b, **{name: value for name, value in options.items() if value is not None}}
        answer = self._connection.post("/v1/comparisons", body, key=uuid.uuid4().hex)
        return self._connection.read(Comparison, answer)

    def get(self, comparison_id: str) -> Comparison:
        """One comparison; NotFound if there is none."""
        return self._connection.read(Comparison, self._connection.get(f"/v1/comparisons/{comparison_id}"))

    def list(self, **filters: object) -> Iterator[Comparison]:
        """Every comparison, without its numbers, the pages fetched as needed."""
        pages = self._connection.pages("/v1/comparisons", **filters)
        return (self._connection.read(Comparison, item) for item in pages)

    def wait(self, comparison_id: str, *, timeout_seconds: float | None = None) -> Comparison:
        """The comparison once it has ended, well or not: its `state` tells."""
        return wait_until_ended(
            lambda: self.get(comparison_id),
            lambda comparison: comparison.state,
            clock=self._connection.clock,
            what=f"comparison {comparison_id}",
            timeout_seconds=timeout_seconds,
        )
