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
    port = _cluster()
    name = f"test_{secrets.token_hex(8)}"
    with psycopg.connect(_dsn(port, "postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/{name}"
    finally:
        with psycopg.connect(_dsn(port, "postgres"), autocommit=True) as connection:
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


def _dsn(port: int, database: str) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/{database}"


def _binaries() -> Path:
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += [Path(place) for place in sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)]
    for place in places:
        if all((place / name).exists() for name in ("initdb", "pg_ctl", "postgres")):
            return place
    missing_server("no PostgreSQL binaries (initdb, pg_ctl, postgres) are installed")
    raise AssertionError("unreachable")


@cache
def _cluster() -> int:
    binaries, port = _binaries(), free_port()
    folder = Path(tempfile.mkdtemp(prefix="transfusion-postgres-"))
    owner = _owner()
    if owner:
        shutil.chown(folder, owner)
    data = folder / "data"
    _run([binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"], owner, folder)
    atexit.register(_stop, binaries, data, owner, folder)
    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off -c max_connections=200 -c shared_buffers=32MB"
    _run([binaries / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], owner, folder)
    return port


def _stop(binaries: Path, data: Path, owner: str | None, folder: Path) -> None:
    _run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop"], owner, folder)
    shutil.rmtree(folder, ignore_errors=True)


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
