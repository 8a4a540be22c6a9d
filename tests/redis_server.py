"""A Redis-protocol server that a test starts for itself, from the installed binary."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from servers import free_port, missing_server


@contextmanager
def redis_server() -> Iterator[str]:
    """URL of an empty server."""
    binary = shutil.which("redis-server") or shutil.which("valkey-server")
    if binary is None:
        missing_server("no redis-server or valkey-server is installed here")
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(binary), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(10)
