"""datasets, weights."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from transfusion_client.cli.comparing import split
from transfusion_client.cli.session import Format, Key, Output, Url, chosen, exit_code, print_answer, session

DATASET_SUMMARY = ("name", "state", "task", "images", "splits", "classes", "reason")
PROFILE_SUMMARY = ("digest", "splits", "counts", "resolutions", "patients", "found", "leaks")
CHANGES = ("added", "removed", "relabelled", "moved")
COLUMNS = ("file", "label", "split", "patient", "classes")
KINDS = "npz, folder, csv, chexpert, chestxray14, eyepacs, aptos, idrid, messidor2, ham10000 or isic"


def register(app: typer.Typer) -> None:
    """Add these commands to the application."""
    datasets = typer.Typer(help="Labelled images with a fixed split.", no_args_is_help=True)
    datasets.command("add")(add_dataset)
    datasets.command("list")(list_datasets)
    datasets.command("show")(show_dataset)
    datasets.command("profile")(profile_dataset)
    datasets.command("manifest")(write_manifest)
    datasets.command("diff")(diff_datasets)
    datasets.command("delete")(delete_dataset)
    app.add_typer(datasets, name="datasets")
    weights = typer.Typer(help="Files of source weights.", no_args_is_help=True)
    weights.command("add")(add_weights)
    weights.command("list")(list_weights)
    app.add_typer(weights, name="weights")


def add_dataset(
    name: Annotated[str, typer.Argument(help="Its name; the version is counted by the service.")],
    path: Annotated[
        str | None, typer.Argument(help="A file or folder of this machine, or s3://...; none for a recipe.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="YAML or JSON: any field of a dataset's spec. Options go before it.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help=f"{KINDS}; npz, folder and csv are told by the path.")] = None,
    task: Annotated[str | None, typer.Option(help="multiclass, ordinal or multilabel.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="For csv: file=F,label=L,split=S,patient=P; several labels as label=A+B, classes=A+B."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="For chexpert and chestxray14: which findings, as A+B.")] = None,
    uncertain: Annotated[str | None, typer.Option(help="For chexpert: take -1 as ignore, zeros or ones.")] = None,
    views: Annotated[str | None, typer.Option(help="For chexpert: all, frontal or lateral.")] = None,
    extends: Annotated[str | None, typer.Option(help="NAME@VERSION whose images it has too, split as there.")] = None,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out files that fail.")] = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is ingested.")] = True,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Register a dataset version."""
    from transfusion_client.sending import shown

    with session(url, key) as client:
        options: dict[str, Any] = {"columns": columns_of(columns), "uncertain": uncertain, "views": views}
        options["extends"] = extends
        options["labels"] = labels.split("+") if labels else None
        options["skip_unreadable"] = True if skip_unreadable else None
        read = _written(spec, path)
        options |= {"kind": kind, "task": task}
        fields = read | {field: value for field, value in options.items() if value is not None}
        with shown(sys.stderr) as sent:
            if path is None:
                dataset = client.datasets.add(name, fields)
            else:
                dataset = client.datasets.add(name, path, sent=sent, **fields)
        if wait:
            dataset = client.datasets.wait(dataset.name)
        print_answer(chosen(dataset.model_dump(mode="json"), (*DATASET_SUMMARY, "faults"), output), output)
        if wait:
            if dataset.error:
                typer.echo(f"error: {dataset.error}", err=True)
            raise typer.Exit(exit_code(dataset.state))


def _written(spec: Path | None, path: str | None) -> dict[str, Any]:
    """The fields in a file, without the name, which is an argument."""
    from transfusion_client.specfile import read_file
    from transfusion_core.errors import InvalidRequest

    if spec is None and path is None:
        raise InvalidRequest("expected a PATH, or --spec FILE with a location or a recipe, or both")
    return {} if spec is None else {field: value for field, value in read_file(spec).items() if field != "name"}


def columns_of(written: str | None) -> dict[str, Any] | None:
    """The columns of `file=F,label=L,...`; several label columns, and classes, have a `+` between them."""
    from transfusion_core.errors import InvalidRequest
    from transfusion_core.specs.fault import nearest

    if written is None:
        return None
    found: dict[str, Any] = {}
    for pair in split(written):
        name, equals, column = pair.partition("=")
        if name not in COLUMNS or not equals or not column:
            close = nearest(name, COLUMNS)
            hint = f" (did you mean {close!r}?)" if close and close != name else ""
            raise InvalidRequest(f"--columns: expected {'=..., '.join(COLUMNS)}=..., got {pair!r}{hint}")
        several = name == "classes" or (name == "label" and "+" in column)
        found[name] = column.split("+") if several else column
    return found


def list_datasets(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """List the datasets."""
    with session(url, key) as client:
        found = [dataset.model_dump(mode="json") for dataset in client.datasets.list()]
        print_answer([chosen(record, DATASET_SUMMARY, output) for record in found], output)


def show_dataset(
    name: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the newest.")],
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Show one dataset."""
    with session(url, key) as client:
        print_answer(client.datasets.get(name).model_dump(mode="json"), output)


def profile_dataset(
    name: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the newest.")],
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Show what a dataset is like, and which of its images are there twice or in two splits."""
    with session(url, key) as client:
        found = client.datasets.profile(name).model_dump(mode="json")
        print_answer(chosen(found, PROFILE_SUMMARY, output), output)


def delete_dataset(
    name: Annotated[str, typer.Argument(help="NAME@VERSION.")],
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Delete a version that nothing is made of, with its bytes, and say what went."""
    with session(url, key) as client:
        print_answer(client.datasets.delete(name).model_dump(mode="json"), output)


def write_manifest(
    name: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the newest.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
    url: Url = None,
    key: Key = None,
) -> None:
    """Write a version's images one by one into a CSV file: sha256, label, split, hashed patient."""
    with session(url, key) as client:
        typer.echo(str(client.datasets.manifest(name, to)))


def diff_datasets(
    name: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the newest.")],
    against: Annotated[
        str | None, typer.Option(help="The other version; the one it extends, or the one before.")
    ] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Say what a version has otherwise than another one: added, removed, relabelled, moved between splits."""
    with session(url, key) as client:
        found = client.datasets.diff(name, against).model_dump(mode="json")
        if output is Output.TABLE:
            counts = {kind: found[kind]["count"] for kind in CHANGES}
            found = {word: found[word] for word in ("name", "against", "same", "unchanged")} | counts
        print_answer(found, output)


def add_weights(
    name: Annotated[str, typer.Argument(help="The name that specs will use.")],
    path: Annotated[str, typer.Argument(help="A .safetensors, .pt or .pth file.")],
    mean: Annotated[str | None, typer.Option(help="What its images were normalised by: 0.485,0.456,0.406")] = None,
    std: Annotated[str | None, typer.Option(help="0.229,0.224,0.225")] = None,
    pixels: Annotated[str, typer.Option("--range", help="What black and white were before that.")] = "0,1",
    channels: Annotated[int, typer.Option(help="Of its images.")] = 3,
    size: Annotated[int | None, typer.Option(help="Side of its images in pixels.")] = None,
    min_size: Annotated[int | None, typer.Option(help="The smallest that it takes.")] = None,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Name a weight file; with --mean and --std, say what its network expects of images."""
    from transfusion_client.sending import shown

    told = {"channels": channels, "mean": numbers_of("--mean", mean), "std": numbers_of("--std", std)}
    told |= {"range": numbers_of("--range", pixels), "size": size, "min_size": min_size}
    stated = any(option is not None for option in (mean, std, size, min_size)) or channels != 3 or pixels != "0,1"
    with session(url, key) as client:
        with shown(sys.stderr) as sent:
            added = client.weights.add(name, path, input=told if stated else None, sent=sent)
        print_answer(added.model_dump(mode="json"), output)


def numbers_of(option: str, written: str | None) -> list[float] | None:
    """The numbers of `0.5,0.5,0.5`."""
    from transfusion_core.errors import InvalidRequest

    try:
        return [float(each) for each in split(written)] if written is not None else None
    except ValueError as error:
        raise InvalidRequest(f"{option}: expected numbers with commas between them, got {written!r}") from error


def list_weights(url: Url = None, key: Key = None, output: Format = Output.TABLE) -> None:
    """List the weight files."""
    with session(url, key) as client:
        print_answer([file.model_dump(mode="json") for file in client.weights.list()], output)
