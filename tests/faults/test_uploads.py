"""Uploads through networks that break and with clients that are killed, into a folder and into a real S3 server."""

import hashlib
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fault_proxy import FaultProxy, fault_proxy, through
from platforms import SOAK, start, stop, until
from s3_server import KEY as S3_KEY
from s3_server import SECRET, TOOL, shared_s3
from servers import free_port, missing_server
from transfusion_client import Client
from transfusion_client.sending import send
from transfusion_core.db.engine import connect, migrate
from transfusion_core.errors import TransfusionError
from transfusion_core.settings import Settings
from transfusion_core.store import open_store

pytestmark = pytest.mark.faults
KEY = "tf_admin_of_this_test_and_of_nothing_else"
PART_BYTES = 5 << 20
PARTS = 6
DATA = random.Random(1).randbytes((PARTS - 1) * PART_BYTES + 12_345)
SENDER = """
import sys
from pathlib import Path
from transfusion_client import Client
from transfusion_client.sending import send
with Client(sys.argv[1], sys.argv[2]) as client:
    print(send(client._connection, Path(sys.argv[3]), filename="x.zip"))
"""


@dataclass
class Road:
    """A service, and the way by which parts come to it."""

    url: str
    """Of the service, as clients call it."""
    proxy: FaultProxy
    """Before whoever takes the parts."""
    direct: str
    """Of the service, around the proxy."""
    settings: Settings

    def received(self, upload: str) -> list[int]:
        with Client(self.direct, KEY) as client:
            found: list[int] = client._connection.get(f"/v1/uploads/{upload}")["received"]
            return found

    def begun(self) -> str | None:
        """The upload that a sender's cache remembers."""
        for path in Path(os.environ["XDG_CACHE_HOME"]).rglob("*.json"):
            return path.read_text().split('"')[3]
        return None

    def stored(self, upload: str) -> str:
        return hashlib.sha256(open_store(self.settings).get_bytes(f"uploads/{upload}")).hexdigest()


@pytest.fixture(scope="module", params=["folder", "s3"] if SOAK else ["s3"])
def lasting_road(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Road]:
    """One service for the tests of this file, with each of the stores."""
    tmp_path = tmp_path_factory.mktemp("service")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in (("AWS_ACCESS_KEY_ID", S3_KEY), ("AWS_SECRET_ACCESS_KEY", SECRET)):
            patch.setenv(name, value)
        port = free_port()
        direct = f"http://127.0.0.1:{port}"
        words = {"store_url": f"file://{tmp_path}/store", "database_url": f"sqlite:///{tmp_path}/api.db"}
        if request.param == "s3":
            if not TOOL.exists():
                missing_server(f"no S3 server to start: {TOOL} is missing")
            endpoint = shared_s3()
            proxy = stack.enter_context(fault_proxy(endpoint))
            words |= {"store_url": f"s3://uploads-{secrets.token_hex(4)}/x", "s3_endpoint_url": endpoint}
            words |= {"s3_public_endpoint_url": through(proxy, endpoint)}
            url = direct
        else:
            proxy = stack.enter_context(fault_proxy(direct))
            url = through(proxy, direct)
        words |= {"upload_part_bytes": str(PART_BYTES), "admin_key": KEY, "mode": "service"}
        environment = {f"TRANSFUSION_{name.upper()}": value for name, value in words.items()}
        engine = connect(words["database_url"])
        migrate(engine)
        engine.dispose()
        api = start(["api", "--port", str(port)], ready=None, environment=environment).process
        stack.callback(stop, api)
        with Client(direct, KEY) as client:
            until(lambda: _answers(client), "the API")
        yield Road(url, proxy, direct, Settings(**words))


@pytest.fixture
def road(lasting_road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Road]:
    """As it is on a good day, for a sender who has sent nothing yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    yield lasting_road
    lasting_road.proxy.heal()


def _answers(client: Client) -> bool:
    try:
        return bool(client.health())
    except TransfusionError:
        return False


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.zip"
    path.write_bytes(DATA)
    return path


def test_connections_that_are_reset_on_the_way_cost_their_parts_alone(road: Road, file: Path) -> None:
    road.proxy.faults.latency_seconds = 0.01
    told: list[int] = []
    resets = []

    def disturb(arrived: int, total: int) -> None:
        told.append(arrived)
        if len(told) in (2, 4):
            resets.append(road.proxy.reset())

    with Client(road.url, KEY) as client:
        upload = send(client._connection, file, filename="x.zip", sent=disturb)
    assert road.stored(upload) == hashlib.sha256(DATA).hexdigest()
    assert told[-1] == len(DATA)
    assert sum(resets) > 0


def test_a_killed_client_goes_on_with_what_has_arrived(road: Road, file: Path) -> None:
    road.proxy.faults.latency_seconds = 0.04
    sender = subprocess.Popen([sys.executable, "-c", SENDER, road.url, KEY, str(file)], stdout=subprocess.DEVNULL)
    begun = until(road.begun, "an upload")
    until(lambda: road.received(begun), "a part", 120)
    sender.send_signal(signal.SIGKILL)
    sender.wait()
    there = road.received(begun)
    assert 0 < len(there) < PARTS
    road.proxy.heal()
    told: list[int] = []
    with Client(road.url, KEY) as client:
        assert send(client._connection, file, filename="x.zip", sent=lambda now, _: told.append(now)) == begun
        again = send(client._connection, file, filename="x.zip")
    assert again == begun
    assert told[0] >= len(there) * PART_BYTES - PART_BYTES, "what was there is not sent again"
    assert road.stored(begun) == hashlib.sha256(DATA).hexdigest()
    assert list(open_store(road.settings).unfinished()) == []
    assert threading.active_count() < 100
