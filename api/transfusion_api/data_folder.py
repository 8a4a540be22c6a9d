"""The folder of a `transfusion up`: what is in it, and who may work on it.

Apart from `up`, since backup and restore need no web framework, which takes them two seconds to import.
"""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transfusion_core.settings import Settings

DATABASE = "transfusion.db"


def embedded_settings(data: Path) -> Settings:
    """Everything under one folder; loopback only, no keys."""
    data = data.resolve()
    return Settings(
        mode="embedded",
        database_url=f"sqlite:///{data / DATABASE}",
        store_url=f"file://{data / 'store'}",
        cache_dir=data / "cache",
        broker_url="memory://localhost",  # without a host kombu warns of it
        poll_seconds=0.2,
        beat_seconds=1.0,
        lease_seconds=20.0,
        grace_seconds=10.0,
        api_processes=1,
    )


@contextmanager
def sole_owner(data: Path) -> Iterator[None]:
    """A data folder that no other process runs on, or the end of this one."""
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit(f"another 'transfusion up' is running on {data}; stop it, or choose another --data folder")
        yield
