"""`transfusion up`: the platform in one process on this machine: SQLite, a folder, and a real Celery worker inside.

The worker is found by its entry point: this package does not import it.
"""

import signal
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Protocol

import typer
import uvicorn

from transfusion_api.app import create_app
from transfusion_api.data_folder import embedded_settings, sole_owner
from transfusion_api.serving import KEEP_ALIVE_SECONDS
from transfusion_core.db.engine import connect, migrate
from transfusion_core.logs import configure
from transfusion_core.settings import Settings
from transfusion_core.specs.job import QUEUES

READY_SECONDS, OFTEN_SECONDS = 60.0, 10.0


class EmbeddedWorker(Protocol):
    """What the worker package offers to be run inside this process."""

    def start(self) -> None:
        """Start claiming jobs, in threads."""

    def stop(self) -> None:
        """Stop softly: running jobs go back to the queue."""

    def kill(self) -> None:
        """End running jobs at once; they go back to the queue all the same."""


def up(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1; 0 takes a free one.")] = 8000,
    data: Annotated[Path, typer.Option(help="Folder of the database, the store and the cache.")] = Path(
        "transfusion-data"
    ),
) -> None:
    """Run the platform on this machine: service, worker, database and store in one process."""
    data.mkdir(parents=True, exist_ok=True)
    with sole_owner(data), _listening(port) as listener:
        settings = embedded_settings(data)
        migrate(connect(settings.database_url))
        serve(settings, listener)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError as error:
            sys.exit(f"port {port} on 127.0.0.1 cannot be had ({error.strerror}); choose another with --port")
        yield listener


def serve(settings: Settings, listener: socket.socket) -> None:
    """Run service and worker until SIGTERM or Ctrl-C, then stop the worker softly."""
    configure("WARNING")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    worker = _worker(settings)
    served = uvicorn.Config(
        create_app(settings),
        log_config=None,
        log_level="warning",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(served)
    threading.Thread(target=_announce, args=(url,), daemon=True).start()
    # When it has ended the server raises SIGTERM again, which by default ends the process before the worker is asked.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    worker.start()
    try:
        server.run(sockets=[listener])
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, frame: _kill_jobs(worker))
        worker.stop()


def _kill_jobs(worker: EmbeddedWorker) -> None:
    """A second signal does not wait for the jobs."""
    threading.Thread(target=worker.kill, daemon=True).start()  # locks are not for signal handlers


def _worker(settings: Settings) -> EmbeddedWorker:
    found = list(entry_points(group="transfusion.embedded", name="worker"))
    if not found:
        sys.exit("the worker is not installed here: pip install 'transfusion[all]'")
    worker: EmbeddedWorker = found[0].load()(settings, sorted(set(QUEUES.values())))
    return worker


def _announce(url: str) -> None:
    """Print the address once the platform is ready, however long that takes; say once that it takes long."""
    started, has_complained = time.monotonic(), False
    while True:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=5):
                print(f"ready: {url}", flush=True)
                return
        except OSError:  # nobody listens yet, or the answer is 503
            waited = time.monotonic() - started
        if waited > READY_SECONDS and not has_complained:
            has_complained = True
            print(f"not ready after {waited:.0f} seconds, still waiting; see {url}/readyz", file=sys.stderr, flush=True)
        time.sleep(0.1 if waited < OFTEN_SECONDS else 1.0)  # each look at what is not ready is a line of the log
