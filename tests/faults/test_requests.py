"""The long form of random requests: ten thousand and more (`make soak`)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from random_requests import send_random
from transfusion_api.app import create_app
from transfusion_core.db.engine import connect, migrate
from transfusion_core.settings import Settings

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.environ.get("TRANSFUSION_SOAK") != "1", reason="minutes: TRANSFUSION_SOAK=1"),
]
PER_ROUTE = int(os.environ.get("TRANSFUSION_REQUESTS_PER_ROUTE", "150"))


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TestClient]:
    url = f"sqlite:///{tmp_path}/api.db"
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    words = {"database_url": url, "store_url": f"file://{tmp_path}/store", "requests_per_second": 1e6}
    app = create_app(Settings(mode="embedded", **words))
    where = {"base_url": "http://127.0.0.1:8000", "client": ("127.0.0.1", 50000), "raise_server_exceptions": False}
    with TestClient(app, **where) as made:
        yield made


@pytest.mark.timeout(3600)
def test_ten_thousand_random_requests_are_answered_as_the_document_says(client: TestClient) -> None:
    sent = send_random(client, per_route=PER_ROUTE)
    print(f"{sent} random requests")
    assert sent >= 10_000 or PER_ROUTE < 150
