"""An API and a worker in one process, for tests of what goes through both."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient

from transfusion_api.app import create_app
from transfusion_worker.worker import Worker


class Platform:
    """An API and a worker in this process, whose answers are kept."""

    def __init__(self, client: TestClient, bench: Any) -> None:
        self.client, self.bench = client, bench
        self.answers: list[str] = []

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.client.request(method, path, json=body)
        self.answers.append(answer.text)
        return answer

    def add(self, **body: Any) -> dict[str, Any]:
        """Register a dataset, wait until it is ingested and looked at; what is said of it."""
        made = self.ask("POST", "/v1/datasets", body)
        assert made.status_code == 201, made.text
        self.bench.ended(made.json()["job"], seconds=120)
        found: dict[str, Any] = self.ask("GET", f"/v1/datasets/{made.json()['name']}").json()
        return found


@contextmanager
def platform_of(bench: Any) -> Iterator[Platform]:
    """Both at work on the bench's database and store."""
    address: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000)}
    with TestClient(create_app(bench.settings), **address) as client:
        worker = Worker(bench.settings, ("cpu", "gpu"))
        worker.start()
        try:
            yield Platform(client, bench)
        finally:
            worker.stop(0)
