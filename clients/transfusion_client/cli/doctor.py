"""doctor."""

import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from transfusion_client.cli.session import NOT_ASKED, Format, Key, Output, Url, print_answer, session

if TYPE_CHECKING:
    from transfusion_client.client import Client

LEAST_FREE_BYTES = 5_000_000_000
GPU_SECONDS = 10
PARTS = ("database", "store", "broker", "queue", "disk")
"""Of the service, as its errors name them."""
MENDING = {
    "client": "install Python 3.11 or later, and the service's version: pip install transfusion=={version}",
    "service": "start it with 'transfusion up', or say where it is: --url or TRANSFUSION_URL",
    "ready": "look at the log of the part that is named; a queue that nobody works on needs 'transfusion worker'",
    "key": "give a key of this service by --key or TRANSFUSION_API_KEY; an admin makes one: transfusion keys create",
    "database": "start it, and check TRANSFUSION_DATABASE_URL of the api; then 'transfusion migrate'",
    "store": "start it, and check TRANSFUSION_STORE_URL and the AWS variables of the api",
    "broker": "start it, and check TRANSFUSION_BROKER_URL; until then workers find work by themselves, later",
    "queue": "start a worker: 'transfusion worker'",
    "disk": "make room: 'transfusion sweep', or delete experiments",
    "disk here": "make room in this folder before you download reports or start 'transfusion up' here",
    "gpu here": "none is needed; trainings on a CPU are slower",
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    check: str
    ok: bool
    found: str
    mend: str = ""


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(doctor)


def doctor(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """Check versions, the service and its parts, the key, GPU and disk here; say how to mend what is not well."""
    with session(url, key) as client:
        checks = [_mended(check) for check in _checks(client)]
        print_answer([asdict(check) for check in checks], output)
        if not all(check.ok for check in checks):
            raise typer.Exit(NOT_ASKED)


def _mended(check: Check) -> Check:
    return check if check.ok else Check(check.check, False, check.found, check.mend or MENDING[check.check])


def _checks(client: "Client") -> Iterator[Check]:
    service, health = _asked("service", client.health)
    yield _versions(health)
    yield service
    if service.ok:
        ready, readiness = _asked("ready", client.readiness)
        parts = readiness.pop("parts", [])
        if ready.ok:
            yield Check("ready", True, "yes")
            yield from (Check(part["name"], part["well"], part["found"]) for part in parts)
        else:
            part = next((name for name in PARTS if name in ready.found), "ready")
            yield Check("ready", False, ready.found, MENDING[part])
        yield _asked("key", lambda: _first_experiment(client))[0]
    free = shutil.disk_usage(Path.cwd()).free
    yield Check("disk here", free >= LEAST_FREE_BYTES, f"{free / 1e9:.1f} GB free")
    yield Check("gpu here", True, _gpu() or f"none; {MENDING['gpu here']}")


def _versions(health: dict[str, Any]) -> Check:
    ours = version("transfusion")
    theirs = health.get("version", ours)
    found = f"{ours}, Python {platform.python_version()}" + (f"; the service is {theirs}" if theirs != ours else "")
    fits = _fits(ours, theirs)
    return Check("client", fits, found, "" if fits else MENDING["client"].format(version=theirs))


def _fits(ours: str, theirs: str) -> bool:
    """Whether a client works with a service: one of its own minor version, or of the one before."""
    (major, minor), (their_major, their_minor) = (map(int, one.split(".")[:2]) for one in (ours, theirs))
    return major == their_major and minor - their_minor in (0, 1)


def _asked(name: str, ask: Callable[[], dict[str, Any]]) -> tuple[Check, dict[str, Any]]:
    from transfusion_core.errors import TransfusionError

    try:
        found = ask()
    except TransfusionError as error:
        return Check(name, False, str(error)), {}
    return Check(name, True, ", ".join(f"{part}: {value}" for part, value in found.items())), found


def _first_experiment(client: "Client") -> dict[str, Any]:
    first = next(client.experiments.list(limit=1), None)
    return {"experiments": "some" if first else "none yet"}


def _gpu() -> str:
    """What NVIDIA's own tool says of this machine; empty where it is not there or sees none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GPU_SECONDS, check=True)
    except (subprocess.SubprocessError, OSError):
        return ""
    return "; ".join(done.stdout.splitlines())
