"""An API that dies between a commit and its answer: who asks again under the same key gets the same experiment."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from platforms import api_alone, start, stop, until
from servers import free_port
from transfusion_client import Client
from transfusion_core.errors import TransfusionError

pytestmark = pytest.mark.faults
KEY = "tf_admin_of_this_test_and_of_nothing_else"
SPEC: dict[str, Any] = {
    "name": "small",
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 1,
    "image_size": 40,
    "training": {"steps": 2},
    "sections": ["performance"],
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An API alone, that dies once after it created an experiment."""
    (tmp_path / "faults").mkdir()
    return api_alone(tmp_path, KEY) | {"FAULT": "created:kill9", "FAULT_ONCE": str(tmp_path / "faults")}


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{free_port()}", KEY) as made:
        yield made


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False


def test_what_was_committed_and_not_answered_is_not_created_twice(environment: dict[str, str], client: Client) -> None:
    port = client.url.rpartition(":")[2]
    first = start(["api", "--port", port], ready=None, environment=environment).process
    until(lambda: _answers(client), "the API")
    with pytest.raises(TransfusionError):
        client.experiments.create(SPEC, idempotency_key="once")
    assert first.wait(30) == -9
    stop(first)
    second = start(["api", "--port", port], ready=None, environment=environment).process
    try:
        until(lambda: _answers(client), "the API")
        made = client.experiments.create(SPEC, idempotency_key="once")
        assert [experiment.id for experiment in client.experiments.list()] == [made.id]
        assert made.counts == {"queued": 1, "waiting": 3}
    finally:
        stop(second)
