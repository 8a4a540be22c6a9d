"""What every command shares: the options --url, --key and -o, errors in words, and how things are printed.

Commands import the client when they run, not before: --help answers without pydantic and httpx2.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from transfusion_client.client import Client
    from transfusion_core.errors import TransfusionError

SUCCEEDED, FAILED, NOT_ASKED, INTERRUPTED = 0, 1, 2, 130
"""Exit codes. 130 is the shell's word for Ctrl-C."""
PLAIN_WIDTH = 180
"""Columns where stdout is no terminal: wide enough that tables are not folded in logs."""


class Output(StrEnum):
    """How answers are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Url = Annotated[str | None, typer.Option("--url", envvar="TRANSFUSION_URL", help="Address of the service.")]
Key = Annotated[str | None, typer.Option("--key", envvar="TRANSFUSION_API_KEY", help="API key.", show_envvar=True)]
Format = Annotated[Output, typer.Option("-o", "--output", help="How to print the answer.")]


@contextmanager
def session(url: str | None, key: str | None) -> "Iterator[Client]":
    """A client; what goes wrong is said in a line, with a line per fault, and ends the command with code 2."""
    from transfusion_client.client import Client
    from transfusion_core.errors import TransfusionError

    try:
        with Client(url, key) as client:
            yield client
    except TransfusionError as error:
        complain(error)
        raise typer.Exit(NOT_ASKED) from error
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt


LAST = "last"
"""What stands for the newest experiment."""


def named(client: "Client", experiment_id: str) -> str:
    """The experiment's id; that of the newest for `last`."""
    from transfusion_core.errors import NotFound

    if experiment_id != LAST:
        return experiment_id
    newest = next(client.experiments.list(limit=1), None)
    if newest is None:
        raise NotFound("there is no experiment yet; make one with 'transfusion submit FILE'")
    return newest.id


WAYS_OUT = {
    "unavailable": "is it running? 'transfusion doctor' tells more",
    "not_authenticated": "give one by --key or TRANSFUSION_API_KEY",
    "not_ready": "wait for it with 'transfusion watch ID'",
}
"""What to do about an error, by its code."""


def complain(error: "TransfusionError") -> None:
    """Say an error on stderr: what, then each fault, and the request's id where the service is at fault."""
    way_out = WAYS_OUT.get(error.code)
    typer.echo(f"error: {error}" + (f" ({way_out})" if way_out else ""), err=True)
    if error.status >= 500 and error.request_id:
        typer.echo(f"  request id: {error.request_id}", err=True)


def exit_code(state: str) -> int:
    """The outcome of something that has ended."""
    return SUCCEEDED if state == "succeeded" else FAILED


def print_answer(answer: Any, output: Output) -> None:
    """Print one answer as JSON or YAML, or as a table: lists of records by their columns, one record by its fields."""
    if output is Output.JSON:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    elif output is Output.YAML:
        import yaml

        typer.echo(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True), nl=False)
    elif isinstance(answer, Mapping):
        print_table([{"field": name, "value": value} for name, value in answer.items()])
    else:
        print_table(answer)


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print records as a table, one column per field of the first."""
    if not rows:
        typer.echo("none")
        return
    from rich.table import Table

    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console().print(table)


def console() -> "Console":
    """rich's console on stdout."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None or value in ([], {}):
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list) and value and all(isinstance(each, float) for each in value):
        return " … ".join(f"{each:.4g}" for each in value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return escape(", ".join(value))
    if isinstance(value, dict) and not any(isinstance(each, dict | list) for each in value.values()):
        return escape(
            ", ".join(f"{each} {name}" if isinstance(each, int) else f"{name} {each}" for name, each in value.items())
        )
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def chosen(record: Mapping[str, Any], fields: Sequence[str], output: Output) -> dict[str, Any]:
    """The whole record for machines, the fields worth a column for people."""
    return {name: record.get(name) for name in fields} if output is Output.TABLE else dict(record)
