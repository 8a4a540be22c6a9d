"""report, runs, logs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transfusion_client.cli.session import (
    Format,
    Key,
    Output,
    Url,
    chosen,
    console,
    exit_code,
    named,
    print_answer,
    session,
)

if TYPE_CHECKING:
    from transfusion_client.reports import Report
    from transfusion_core.specs.report import ReportDiff

RUN_SUMMARY = ("id", "model", "init", "source", "train_size", "seed", "state", "attempt", "reason")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (report, runs, logs):
        app.command()(command)


def report(
    experiment_id: Annotated[str, typer.Argument(metavar="ID", help="The experiment's id, or 'last'.")],
    to: Annotated[Path | None, typer.Option(help="Write it in every form, with its charts, into this folder.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the HTML report in the browser.")] = False,
    section: Annotated[str | None, typer.Option(help="Print this section only.")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="ID", help="Print only what differs from this earlier experiment's report.")
    ] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Print an experiment's report."""
    with session(url, key) as client:
        found = client.experiments.report(named(client, experiment_id))
        if against is not None:
            _print_diff(found.diff(against), output)
        else:
            _print(found, section, output)
        if to or show:
            folder = to or Path(tempfile.mkdtemp(prefix="transfusion-report-"))
            written = found.save(folder)
            typer.echo(f"report: {written}", err=output is not Output.TABLE)
            if show:
                typer.launch(written.as_uri())


def _print(report: "Report", section: str | None, output: Output) -> None:
    if section is not None:
        report.section(section)
    if output is Output.TABLE:
        from transfusion_client.tables import print_report

        print_report(report, console(), section=section)
    else:
        shown = report if section is None else report.section(section)
        print_answer(shown.model_dump(mode="json", exclude_none=True), output)


def _print_diff(diff: "ReportDiff", output: Output) -> None:
    if output is Output.TABLE:
        from transfusion_client.tables import print_diff

        print_diff(diff, console())
    else:
        print_answer(diff.model_dump(mode="json", exclude_none=True), output)


def runs(
    experiment: Annotated[str | None, typer.Option(help="Only those of this experiment, or of the 'last'.")] = None,
    model: Annotated[str | None, typer.Option(help="Only those of this model.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """List the runs."""
    with session(url, key) as client:
        experiment = named(client, experiment) if experiment else None
        listed = client.runs.list(experiment=experiment, model=model, state=state)
        found = [run.model_dump(mode="json") for run in listed]
        print_answer([chosen(record, RUN_SUMMARY, output) for record in found], output)


def logs(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run's id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a run's log; with -f as it is written, and then the exit code is the run's outcome."""
    with session(url, key) as client:
        for line in client.runs.follow_log(run_id) if follow else client.runs.log(run_id):
            typer.echo(line)
        if follow:
            raise typer.Exit(exit_code(client.runs.get(run_id).state))
