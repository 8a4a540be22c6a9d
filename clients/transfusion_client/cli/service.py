"""keys, audit, doctor."""

import platform
from collections.abc import Callable
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transfusion_client.cli.session import NOT_ASKED, Format, Key, Output, Url, print_answer, session

if TYPE_CHECKING:
    from transfusion_client.client import Client


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    keys = typer.Typer(help="API keys, for admins.", no_args_is_help=True)
    keys.command("list")(list_keys)
    keys.command("create")(create_key)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")
    app.command()(audit)
    app.command()(doctor)


def list_keys(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """List the API keys."""
    with session(url, key) as client:
        print_answer([found.model_dump(mode="json") for found in client.keys.list()], output)


def create_key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "read",
    project: Annotated[str | None, typer.Option(help="Whose keys share what they make; its own unless given.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Never expires unless given.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Make an API key; its secret is shown once."""
    with session(url, key) as client:
        made = client.keys.create(name, role=role, project=project, expires_in_days=expires_in_days)
        print_answer(made.model_dump(mode="json"), output)


def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")], url: Url = None, key: Key = None
) -> None:
    """End an API key at once."""
    with session(url, key) as client:
        client.keys.revoke(key_id)
        typer.echo(f"revoked: {key_id}")


def audit(
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Show who did what, and when; for admins."""
    with session(url, key) as client:
        print_answer([event.model_dump(mode="json") for event in islice(client.keys.audit(), limit)], output)


def doctor(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """Check that the service can be reached, is ready, and takes this key."""
    with session(url, key) as client:
        checks = [
            {"check": "client", "ok": True, "found": f"{version('transfusion')}, Python {platform.python_version()}"},
            _check("service", lambda: {"url": client.url, **client.health()}),
            _check("ready", client.readiness),
            _check("key", lambda: _first_experiment(client)),
        ]
        print_answer(checks, output)
        if not all(check["ok"] for check in checks):
            raise typer.Exit(NOT_ASKED)


def _check(name: str, look: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    from transfusion_core.errors import TransfusionError

    try:
        found = look()
    except TransfusionError as error:
        return {"check": name, "ok": False, "found": str(error)}
    return {"check": name, "ok": True, "found": ", ".join(f"{part}: {value}" for part, value in found.items())}


def _first_experiment(client: "Client") -> dict[str, Any]:
    first = next(client.experiments.list(limit=1), None)
    return {"experiments": "some" if first else "none yet"}
