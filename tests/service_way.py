"""The service way: PostgreSQL, Redis, a real S3 server; migration, API, worker and client in processes of their own."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from platforms import TRANSFUSION, add_few_demos, start, stop, until
from redis_server import redis_server
from s3_server import KEY, SECRET, shared_s3
from servers import free_port, postgres_url
from transfusion_client import Client
from transfusion_core.errors import TransfusionError

ADMIN_KEY = "tf_admin_of_this_test_and_of_nothing_else"


class Service:
    """The parts of a running service."""

    def __init__(self, environment: dict[str, str], port: int) -> None:
        self.environment, self.url = environment, f"http://127.0.0.1:{port}"
        self.port = port
        self.api: subprocess.Popen[str] | None = None

    def migrate(self) -> None:
        """`transfusion migrate`."""
        subprocess.run([str(TRANSFUSION), "migrate"], check=True, env={**os.environ, **self.environment}, timeout=60)

    def start_api(self) -> None:
        """The REST service in a process of its own, once it answers; at the same address each time."""
        self.api = start(["api", "--port", str(self.port)], ready=None, environment=self.environment).process
        until(self._answers, "the API")

    def stop_api(self) -> None:
        """And its end."""
        if self.api is not None:
            stop(self.api)

    def start_worker(self) -> subprocess.Popen[str]:
        """A worker in a process of its own."""
        return start(["worker", "--queues", "gpu,cpu"], ready=None, environment=self.environment).process

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.health())
        except TransfusionError:
            return False

    def client(self) -> Client:
        """A client with the admin key."""
        return Client(self.url, ADMIN_KEY)


@contextmanager
def running_service(**more: str) -> Iterator[Service]:
    """Servers, a migrated database and a running API; no worker. `more` of the environment is all processes' own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        environment = {
            "TRANSFUSION_DATABASE_URL": stack.enter_context(postgres_url()),
            "TRANSFUSION_BROKER_URL": stack.enter_context(redis_server()),
            "TRANSFUSION_S3_ENDPOINT_URL": shared_s3(),
            "TRANSFUSION_STORE_URL": f"s3://transfusion-{secrets.token_hex(4)}/v1",
            "TRANSFUSION_CACHE_DIR": str(folder / "cache"),
            "TRANSFUSION_ADMIN_KEY": ADMIN_KEY,
            "TRANSFUSION_LEASE_SECONDS": "6",
            "TRANSFUSION_BEAT_SECONDS": "1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            **more,
        }
        made = Service(environment, free_port())
        made.migrate()
        stack.callback(made.stop_api)
        made.start_api()
        with made.client() as client:
            add_few_demos(client)
        yield made
