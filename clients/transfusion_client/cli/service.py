"""keys, audit, workers."""

from itertools import islice
from typing import Annotated

import typer

from transfusion_client.cli.session import Format, Key, Output, Url, print_answer, session


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    keys = typer.Typer(help="API keys, for admins.", no_args_is_help=True)
    keys.command("list")(list_keys)
    keys.command("create")(create_key)
    keys.command("revoke")(revoke_key)
    app.add_typer(keys, name="keys")
    app.command()(audit)
    app.command()(workers)


def list_keys(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """List the API keys."""
    with session(url, key) as client:
        print_answer([found.model_dump(mode="json") for found in client.keys.list()], output)


def create_key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    role: Annotated[str, typer.Option(help="read, write or admin.")] = "read",
    project: Annotated[str | None, typer.Option(help="Whose keys share what they make; its own unless given.")] = None,
    expires_in_days: Annotated[int | None, typer.Option(min=1, help="Never expires unless given.")] = None,
    running_jobs: Annotated[int | None, typer.Option(min=1, help="Its jobs at work at once, at most.")] = None,
    gpu_hours: Annotated[float | None, typer.Option(min=0, help="Of GPU workers in 30 days, at most.")] = None,
    stored_bytes: Annotated[int | None, typer.Option(min=0, help="In the store, at most.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Make an API key; its secret is shown once."""
    from transfusion_core.specs.quota import Quota

    with session(url, key) as client:
        limits = Quota(running_jobs=running_jobs, gpu_hours=gpu_hours, stored_bytes=stored_bytes)
        quota = limits if limits != Quota() else None
        made = client.keys.create(name, role=role, project=project, expires_in_days=expires_in_days, quota=quota)
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


def workers(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """List the workers that are there, and what each has."""
    with session(url, key) as client:
        print_answer([found.model_dump(mode="json") for found in client.workers()], output)
