"""Servers that tests start for themselves from the installed binaries, on loopback."""

import atexit
import glob
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest


@contextmanager
def postgres_url() -> Iterator[str]:
    """The SQLAlchemy URL of a fresh database on this session's PostgreSQL, which is started when first asked for."""
    cluster = _shared_cluster()
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield cluster.url(name)
    finally:
        with psycopg.connect(cluster.dsn, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def missing_server(what: str) -> None:
    """Skip the test, saying why; or fail it, where TRANSFUSION_TESTS_REQUIRE_SERVERS=1."""
    if os.environ.get("TRANSFUSION_TESTS_REQUIRE_SERVERS") == "1":
        pytest.fail(f"{what}, and TRANSFUSION_TESTS_REQUIRE_SERVERS=1")
    pytest.skip(what)


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += [Path(place) for place in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return place
    missing_server("no PostgreSQL binaries (initdb, pg_ctl, postgres) are installed")
    raise AssertionError("unreachable")


class PostgresCluster:
    """A PostgreSQL server of one's own, on a port that it keeps, so that it can be stopped and started again."""

    def __init__(self) -> None:
        self._binaries, self.port = _binaries(), free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="transfusion-postgres-"))
        self._owner = _owner()
        if self._owner:
            shutil.chown(self._folder, self._owner)
        self._data = self._folder / "data"
        initdb = [self._binaries / "initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        _run([*initdb, "--no-sync"], self._owner, self._folder)

    @property
    def dsn(self) -> str:
        """Where the server's own database is, for psycopg."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def url(self, database: str = "postgres") -> str:
        """Where a database is, for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c fsync=off -c max_connections=200"
        self._control("-w", "-l", self._folder / "log", "-o", f"{options} -c shared_buffers=32MB", "start")

    def stop(self) -> None:
        """Stop it as a loss of power would; what was committed is still there after the next start."""
        self._control("-m", "immediate", "-w", "stop")

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _control(self, *arguments: object) -> None:
        _run([self._binaries / "pg_ctl", "-D", self._data, *arguments], self._owner, self._folder)


@contextmanager
def postgres_cluster() -> Iterator[PostgresCluster]:
    """A running server of one's own."""
    cluster = PostgresCluster()
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.remove()


@cache
def _shared_cluster() -> PostgresCluster:
    cluster = PostgresCluster()
    cluster.start()
    atexit.register(cluster.remove)
    return cluster


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: then another user owns the cluster."""
    if os.geteuid() != 0:
        return None
    users = {user.pw_name for user in pwd.getpwall()}
    return next(name for name in ("postgres", "nobody") if name in users)


def _run(arguments: list[object], owner: str | None, folder: Path) -> None:
    # Output goes to a file: the server inherits it, and a pipe would keep us waiting for its end.
    with (folder / "output").open("a+") as output:
        done = subprocess.run(
            [str(argument) for argument in arguments],
            user=owner,
            group=pwd.getpwnam(owner).pw_gid if owner else None,
            extra_groups=[] if owner else None,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            output.seek(0)
            raise RuntimeError(f"{arguments[0]} failed: {output.read()[-2000:]}")
