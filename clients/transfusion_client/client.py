"""The one door: a Client, and its resources by the platform's nouns."""

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import httpx2

from transfusion_client.catalogue import Documents, Models, Presets, Schemas, Weights
from transfusion_client.comparisons import Comparisons
from transfusion_client.connection import Connection
from transfusion_client.datasets import Datasets
from transfusion_client.experiments import Experiments
from transfusion_client.keys import Keys
from transfusion_client.removals import Removals
from transfusion_client.retries import Clock
from transfusion_client.runs import Runs
from transfusion_core.specs.worker import Worker

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_TIMEOUT_SECONDS = 30.0


class Client:
    """A Transfusion service. Nothing is sent before the first call; errors are those of `transfusion_core.errors`.

    `url` is TRANSFUSION_URL or this machine's port 8000 unless given, `key` is TRANSFUSION_API_KEY; an embedded
    service needs none. `timeout_seconds` bounds one request with all its retries. `transport` and `clock` are for
    tests. A client may be used by several threads.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._connection = Connection(
            url or os.environ.get("TRANSFUSION_URL") or DEFAULT_URL,
            key or os.environ.get("TRANSFUSION_API_KEY"),
            timeout_seconds=timeout_seconds,
            transport=transport,
            clock=clock,
        )
        self.url = self._connection.url
        self.experiments = Experiments(self._connection)
        self.runs = Runs(self._connection)
        self.comparisons = Comparisons(self._connection)
        self.datasets = Datasets(self._connection)
        self.weights = Weights(self._connection)
        self.models = Models(self._connection)
        self.presets = Presets(self._connection)
        self.schemas = Schemas(self._connection)
        self.documents = Documents(self._connection)
        self.removals = Removals(self._connection)
        self.keys = Keys(self._connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; jobs go on."""
        self._connection.close()

    def health(self) -> dict[str, Any]:
        """What `/healthz` answers: `status`, `mode`, `version`."""
        found: dict[str, Any] = self._connection.get("/healthz")
        return found

    def readiness(self) -> dict[str, Any]:
        """What `/readyz` answers; Unavailable where a part of the service does not work."""
        found: dict[str, Any] = self._connection.get("/readyz")
        return found

    def workers(self) -> Iterator[Worker]:
        """The workers that are there, and what each has."""
        return (self._connection.read(Worker, item) for item in self._connection.pages("/v1/workers"))

    def metrics(self) -> str:
        """The service's numbers, as Prometheus reads them."""
        return self._connection.text("/metrics")
