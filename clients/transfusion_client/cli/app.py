"""All commands under one name: the client's own, and the server's where they are installed."""

from importlib.metadata import EntryPoint, entry_points

import typer

from transfusion_client.cli import comparing, data, doctor, experimenting, reading, service, session

SERVER_PANEL = "Server"
SERVER_HELP = {
    "up": "Run the whole platform on this machine: service, worker, database and store.",
    "api": "Run the REST service.",
    "worker": "Run a worker that trains and compares.",
    "migrate": "Bring the database's tables up to date.",
    "backup": "Copy database and store into a folder.",
    "export-model": "Turn a checkpoint into ONNX or a MONAI bundle, and try it.",
    "restore": "Put a backup into an empty database and store.",
}
"""Words for --help, which must not import torch or FastAPI; other entry points are named by their module."""


def build_app() -> typer.Typer:
    """The application. Server commands are entry points of the group `transfusion.commands`, loaded when called."""
    app = typer.Typer(
        name="transfusion",
        help="Does transfer learning help on your medical images: for which model, how much, and where?",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
    )
    for module in (experimenting, reading, comparing, data, service, doctor):
        module.register(app)
    for entry in sorted(entry_points(group="transfusion.commands"), key=lambda entry: entry.name):
        _register_server_command(app, entry)
    return app


def _register_server_command(app: typer.Typer, entry: EntryPoint) -> None:
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    words = SERVER_HELP.get(entry.name, f"Server command ({entry.value}).")

    @app.command(entry.name, help=words, context_settings=passed_on, rich_help_panel=SERVER_PANEL)
    def forward(context: typer.Context) -> None:
        run_server_command(entry, context.args)


def run_server_command(entry: EntryPoint, arguments: list[str]) -> None:
    """Load a server command and run it with its own options; says which extra is missing where it is not there."""
    try:
        function = entry.load()
    except ModuleNotFoundError as error:
        extra = entry.module.partition(".")[0].removeprefix("transfusion_")
        typer.echo(
            f"'transfusion {entry.name}' needs {error.name!r}, which is not installed: "
            f"pip install 'transfusion[{extra}]'",
            err=True,
        )
        raise typer.Exit(2) from error
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command(entry.name)(function)
    from transfusion_core.errors import TransfusionError  # after loading: it has brought pydantic along

    try:
        typer.main.get_command(app).main(args=arguments, prog_name=f"transfusion {entry.name}")
    except TransfusionError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(session.FAILED) from error
