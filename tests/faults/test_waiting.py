"""A client waits while the service is killed and started again: the wait ends rightly, and each event came once."""

import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from platforms import start, stop, until
from servers import free_port
from transfusion_client import Client
from transfusion_client.events import Event
from transfusion_core.db.engine import connect, migrate
from transfusion_core.errors import Unavailable

pytestmark = pytest.mark.faults
KEY = "tf_admin_of_this_test_and_of_nothing_else"
SPEC: dict[str, Any] = {"name": "small", "dataset": "demo-retina", "models": ["cbr-tiny"], "image_size": 32}


def test_a_wait_outlives_a_service_that_is_killed_and_hears_each_event_once(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/api.db"
    engine = connect(database)
    migrate(engine)
    engine.dispose()
    environment = {"TRANSFUSION_DATABASE_URL": database, "TRANSFUSION_ADMIN_KEY": KEY}
    environment["TRANSFUSION_STORE_URL"] = f"file://{tmp_path}/store"
    port = str(free_port())
    heard: list[Event] = []
    with Client(f"http://127.0.0.1:{port}", KEY) as client:
        api = start(["api", "--port", port], ready=None, environment=environment)
        try:
            until(lambda: _answers(client), "the service")
            experiment = client.experiments.create(SPEC)
            waiting = threading.Thread(
                target=experiment.wait, kwargs={"on_event": heard.append, "timeout_seconds": 120}, daemon=True
            )
            waiting.start()
            until(lambda: heard, "the first event")
            api.process.send_signal(signal.SIGKILL)
            api.process.wait()
            api = start(["api", "--port", port], ready=None, environment=environment)
            until(lambda: _answers(client), "the service")
            client.experiments.cancel(experiment.id)
            waiting.join(60)
            told = list(client.experiments.events(experiment.id))
        finally:
            stop(api.process)
    assert experiment.state == "cancelled"
    assert [event for event in heard if event.kind != "progress"] == [
        event for event in told if event.kind != "progress"
    ]
    assert len({event.id for event in heard if event.kind not in ("progress", "end")}) > 5


def _answers(client: Client) -> bool:
    try:
        return client.health()["status"] == "ok"
    except Unavailable:
        return False
