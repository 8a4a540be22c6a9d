"""plan, submit, watch, cancel, experiments."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transfusion_client.cli.session import (
    Format,
    Key,
    Output,
    Url,
    chosen,
    exit_code,
    named,
    print_answer,
    print_table,
    session,
)

if TYPE_CHECKING:
    from transfusion_client.client import Client
    from transfusion_client.experiments import Experiment

File = Annotated[str | None, typer.Argument(help="The spec, in YAML or JSON; '-' reads stdin.", metavar="FILE")]
Preset = Annotated[str | None, typer.Option(help="Start from this preset instead of a file.")]
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Sets the spec's dataset.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended; Ctrl-C lets it go on.")]
ExperimentId = Annotated[str, typer.Argument(metavar="ID", help="The experiment's id, or 'last'.")]
SUMMARY = ("id", "name", "state", "progress", "counts", "created_at")


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    for command in (plan, submit, fork, extend, combine, watch, cancel, experiments, export):
        app.command()(command)


def plan(
    file: File = None,
    preset: Preset = None,
    dataset: DatasetOption = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Show what an experiment would do; nothing is created."""
    with session(url, key) as client:
        planned = client.experiments.plan(_spec(client, file, preset, dataset)).model_dump(mode="json")
        if output is not Output.TABLE:
            print_answer(planned, output)
            return
        print_table([{name: run[name] for name in run if name != "key"} for run in planned["runs"]])
        print_answer({name: planned[name] for name in ("jobs_by_kind", "images_to_train", "tuning_runs")}, output)
        for demand in planned["demands"]:
            typer.echo(_needs(demand))
        if planned["account"]:
            typer.echo(f"your quota: {_used(**planned['account'])}")
        for warning in planned["warnings"]:
            typer.echo(f"warning: {warning}")
        typer.echo(in_short(planned))


def _needs(demand: dict[str, Any]) -> str:
    """What the jobs of a queue need, in a line."""
    largest = f"{demand['memory_bytes'] / 1e9:.1f} GB for {demand['label']}"
    gpus = f", {demand['gpus']} GPUs at once" if demand["gpus"] > 1 else ""
    return f"queue {demand['queue']}: {demand['jobs']} jobs, {demand['minutes']:g} minutes, up to {largest}{gpus}"


def _used(quota: dict[str, Any], used: dict[str, Any]) -> str:
    """What is used of each limit of a quota, in a line."""
    limits = {
        "running_jobs": ("jobs at work", 1, 0),
        "gpu_hours": ("GPU-hours in 30 days", 1, 1),
        "stored_bytes": ("GB stored", 1e9, 1),
    }
    return ", ".join(
        f"{used[name] / per:.{digits}f} of {quota[name] / per:.{digits}f} {unit}"
        for name, (unit, per, digits) in limits.items()
        if quota[name] is not None
    )


def in_short(planned: dict[str, Any]) -> str:
    """What will run, what is there already, and what it costs, in a line."""
    from transfusion_client.progress import in_words

    runs = planned["runs"]
    made = sum(run["exists"] for run in runs)
    cost = f"about {in_words(planned['estimated_seconds'])} on a small CPU, {planned['estimated_bytes'] / 1e6:,.0f} MB"
    return f"{len(runs) - made} of {len(runs)} runs to train, {made} are there; {planned['new_jobs']} new jobs: {cost}"


def submit(
    file: File = None,
    preset: Preset = None,
    dataset: DatasetOption = None,
    wait: Wait = False,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Create an experiment."""
    with session(url, key) as client:
        experiment = client.experiments.create(_spec(client, file, preset, dataset))
        if wait:
            _watch(experiment, output, client)
        _print(experiment, output)


def fork(
    experiment_id: ExperimentId,
    file: Annotated[str, typer.Argument(help="A merge patch of its spec, in YAML or JSON; '-' reads stdin.")],
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Create an experiment that differs from another by a patch; only what is new is computed."""
    with session(url, key) as client:
        _print(client.experiments.fork(named(client, experiment_id), _read(file)), output)


def extend(
    experiment_id: ExperimentId,
    seeds: Annotated[int | None, typer.Option(help="Seeds in all.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="One more model; may be given again.")] = None,
    init: Annotated[list[str] | None, typer.Option(help="One more init, as JSON or YAML; may be given again.")] = None,
    train_size: Annotated[list[str] | None, typer.Option(help="One more train size; may be given again.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Create an experiment with more seeds, models, inits or train sizes than another; only what is new is computed."""
    from transfusion_client.specfile import plain

    with session(url, key) as client:
        grown = client.experiments.get(named(client, experiment_id)).extend(
            seeds=seeds,
            models=model or [],
            inits=[plain(each, "--init") for each in init or []],
            train_sizes=[plain(each, "--train-size") for each in train_size or []],
        )
        _print(grown, output)


def combine(
    experiment_ids: Annotated[list[str], typer.Argument(help="Two or more, on the same dataset.")],
    name: Annotated[str | None, typer.Option(help="Of the experiment that this makes.")] = None,
    section: Annotated[list[str] | None, typer.Option(help="A section of its report; may be given again.")] = None,
    similarity: Annotated[str | None, typer.Option(help="Where they do not agree on it, as JSON or YAML.")] = None,
    wait: Wait = False,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Report several experiments as one; nothing is trained again."""
    from transfusion_client.specfile import plain

    with session(url, key) as client:
        settled = plain(similarity, "--similarity") if similarity else None
        experiment = client.experiments.combine(experiment_ids, name=name, sections=section, similarity=settled)
        if wait:
            _watch(experiment, output, client)
        _print(experiment, output)


def watch(experiment_id: ExperimentId, url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """Watch an experiment's runs until it has ended; Ctrl-C lets it go on, and watching can begin again."""
    with session(url, key) as client:
        _watch(client.experiments.get(named(client, experiment_id)), output, client)


def cancel(experiment_id: ExperimentId, url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """Ask an experiment's jobs to stop; those that others share go on."""
    with session(url, key) as client:
        _print(client.experiments.cancel(named(client, experiment_id)), output)


def experiments(
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """List the experiments."""
    with session(url, key) as client:
        found = [each.record.model_dump(mode="json") for each in client.experiments.list(state=state)]
        print_answer([chosen(record, SUMMARY, output) for record in found], output)


def _spec(client: "Client", file: str | None, preset: str | None, dataset: str | None) -> dict[str, Any]:
    from transfusion_core.errors import InvalidRequest

    if (file is None) == (preset is None):
        raise InvalidRequest("expected a FILE or --preset NAME, and not both")
    spec = client.presets.get(str(preset)) if file is None else _read(file)
    return spec if dataset is None else {**spec, "dataset": dataset}


def _read(file: str) -> dict[str, Any]:
    from transfusion_client.specfile import parse, read_file

    return parse(sys.stdin.read(), "stdin") if file == "-" else read_file(Path(file))


def _watch(experiment: "Experiment", output: Output, client: "Client") -> None:
    from transfusion_client.cli.watching import LiveRuns

    if output is Output.TABLE:
        typer.echo(f"{experiment.id}, {client.url}/experiments/{experiment.id}", err=True)
    experiment.wait(progress=LiveRuns(client, experiment.id) if sys.stderr.isatty() else True)
    _print(experiment, output)
    if output is Output.TABLE:
        typer.echo(f"next: {_next_command(experiment)}", err=True)
    raise typer.Exit(exit_code(experiment.state))


def _next_command(experiment: "Experiment") -> str:
    """What people do with an experiment that has ended."""
    report = f"transfusion report {experiment.id} --open"
    return report if experiment.state == "succeeded" else f"transfusion runs --experiment {experiment.id}; {report}"


def _print(experiment: "Experiment", output: Output) -> None:
    print_answer(chosen(experiment.record.model_dump(mode="json"), SUMMARY, output), output)


def export(
    experiment_id: ExperimentId,
    mlflow: Annotated[str, typer.Option(help="Address of an MLflow tracking server, http://127.0.0.1:5000.")],
    name: Annotated[str | None, typer.Option(help="Of the experiment there; transfusion/NAME unless given.")] = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Put an experiment's ended runs, with their curves, into MLflow; again brings what is new."""
    from transfusion_client.mlflow import Tracking

    with session(url, key) as client, Tracking(mlflow) as tracking:
        done = tracking.export(client, named(client, experiment_id), name=name)
        typer.echo(
            f"{len(done.new)} runs are new in MLflow's experiment {done.experiment_id}, {len(done.known)} were there"
        )
