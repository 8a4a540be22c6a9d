"""compare."""

from typing import TYPE_CHECKING, Annotated

import typer

from transfusion_client.cli.session import Format, Key, Output, Url, exit_code, print_answer, print_table, session

if TYPE_CHECKING:
    from transfusion_core.specs.comparison import Comparison

RESULT = (
    "layer_a", "layer_b", "measure", "value", "interval", "null_iid", "null_permutation", "null_untrained",
    "n", "p", "q", "reason",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add this command to the application."""
    app.command()(compare)


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A checkpoint: RUN@init, RUN@final or RUN@STEP.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other checkpoint.")],
    layers: Annotated[str | None, typer.Option(help="'stages', or module paths with commas between.")] = None,
    layers_b: Annotated[str | None, typer.Option(help="The same of B, where they are others.")] = None,
    pairs: Annotated[
        str | None, typer.Option(help="'diagonal', 'all', or LAYER_OF_A:LAYER_OF_B with commas between.")
    ] = None,
    measures: Annotated[
        str | None, typer.Option(help="With commas: cca, svcca, pwcca, cka, cka_debiased, procrustes, regression.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Probe images come from its test split.")] = None,
    spectra: Annotated[bool, typer.Option(help="Also the canonical correlations themselves, in JSON.")] = False,
    parts: Annotated[int | None, typer.Option(help="Jobs that share the images between them: 1 to 16.")] = None,
    wait: Annotated[bool, typer.Option(help="Wait for the numbers.")] = True,
    url: Url = None,
    key: Key = None,
    output: Format = Output.TABLE,
) -> None:
    """Compare two checkpoints layer by layer."""
    with session(url, key) as client:
        comparison = client.comparisons.create(
            a,
            b,
            layers=_layers(layers),
            layers_b=_layers(layers_b),
            pairs=pairs if pairs in (None, "diagonal", "all") else [pair.split(":") for pair in split(pairs)],
            measures=split(measures) if measures else None,
            dataset=dataset,
            spectra=spectra or None,
            parts=parts,
        )
        if wait:
            comparison = client.comparisons.wait(comparison.id)
        _print(comparison, output)
        if wait:
            raise typer.Exit(exit_code(comparison.state))


def _layers(listed: str | None) -> list[str] | str | None:
    return listed if listed in (None, "stages") else split(listed)


def split(listed: str | None) -> list[str]:
    """The items of `a,b,c`."""
    return [item.strip() for item in (listed or "").split(",") if item.strip()]


def _print(comparison: "Comparison", output: Output) -> None:
    record = comparison.model_dump(mode="json")
    if output is not Output.TABLE:
        print_answer(record, output)
        return
    if comparison.results:
        print_table([{name: result[name] for name in RESULT} for result in record["results"]])
    for warning in dict.fromkeys(warning for result in comparison.results for warning in result.warnings):
        typer.echo(f"warning: {warning}", err=True)
    why = f" ({comparison.reason})" if comparison.reason else ""
    typer.echo(f"comparison {comparison.id}: {comparison.state}{why}")
