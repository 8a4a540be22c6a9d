"""A real S3 server for tests: OpenStack Swift's, started by `shared/tools/s3-server` on free ports."""

import atexit
import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import cache
from pathlib import Path

TOOL = Path(__file__).parents[2] / "shared" / "tools" / "s3-server"
KEY, SECRET = "test:tester", "testing"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """The endpoint of a server whose data lie in `folder`; start and stop take a few seconds."""
    port = _free_ports(5)
    environment = os.environ | {"S3_SERVER_DIR": str(folder), "S3_SERVER_PORT": str(port)}
    subprocess.run([TOOL, "start"], check=True, env=environment, capture_output=True, timeout=600)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        subprocess.run([TOOL, "stop"], check=True, env=environment, capture_output=True, timeout=60)


@cache
def shared_s3() -> str:
    """The endpoint of this process's server, which starts when first asked for. Who asks has buckets of own names.

    For all that harm no server and look at no whole one: a start costs seconds.
    """
    folder = tempfile.TemporaryDirectory(prefix="transfusion-s3-")
    kept = ExitStack()
    kept.enter_context(folder)
    endpoint = kept.enter_context(s3_server(Path(folder.name) / "server"))
    atexit.register(kept.close)
    return endpoint


def _free_ports(count: int) -> int:
    """The first of `count` neighbouring ports that nobody uses; each process of the suite looks at others of them, and
    begins at a place of its own: two suites that start at once would both find the same ones free.
    """
    start = 20000 + 1000 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    firsts = range(start, start + 1000, count)
    own = os.getpid() % len(firsts)
    for first in (*firsts[own:], *firsts[:own]):
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
