"""Report sections as tables for the terminal: the paper's Table 1, and the numbers behind its figures. Needs rich."""

from collections.abc import Callable, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from transfusion_core.specs.report import ChangedRow, Report, ReportDiff, ReportSection, Row

Column = tuple[str, Callable[[Row], str]]
HEADLINES = frozenset({">=2", "macro", None})
"""Labels that stand for a whole run: referable disease for grades, the average over labels for the rest."""


def print_report(report: Report, console: Console, *, section: str | None = None) -> None:
    """Print every section, or one: its tables, its words, and what is missing from it."""
    for name, content in report.sections.items():
        if section in (None, name):
            print_section(name, content, console)


def print_section(name: str, section: ReportSection, console: Console) -> None:
    """Print one section."""
    console.print()
    for title, columns, rows in tables_of(name, section.table):
        if rows:
            console.print(make_table(title, columns, rows))
    if section.text:
        console.print(section.text, markup=False, highlight=False)
    if not section.complete:
        console.print(f"not complete; missing: {', '.join(section.missing) or 'not said'}", markup=False)


def print_diff(diff: ReportDiff, console: Console) -> None:
    """Print what two reports say differently, section by section."""
    if not diff.sections:
        console.print("the same numbers" if diff.same else "the same numbers, made in another way")
    for name, found in diff.sections.items():
        for title, rows in (("only here", found.added), ("only in the other", found.removed)):
            if rows:
                console.print(make_table(f"{name}: {title}", _EVERY, rows))
        if found.changed:
            console.print(make_table(f"{name}: changed", *_changes(found.changed)))


def _changes(changed: Sequence[ChangedRow]) -> tuple[Sequence[Column], Sequence[Row]]:
    befores = {id(pair.after): pair.before for pair in changed}
    before: Column = ("value before", lambda row: _value(befores[id(row)]))
    return (*_EVERY, before), [pair.after for pair in changed]


TitledRows = tuple[str, Sequence[Column], Sequence[Row]]


def tables_of(name: str, rows: Sequence[Row]) -> list[TitledRows]:
    """The tables of one section: title, columns, rows. Sections that this client does not know get every column."""
    return _TABLES.get(name, _any_section(name))(rows)


def make_table(title: str, columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """A table of those columns in which some row has something to show."""
    rows = list(rows)
    shown = [(head, cells) for head, show in columns if any(cells := [show(row) for row in rows])]
    # Labels are words of strangers, and to the library "[/x]" would be markup; none of ours is.
    table = Table(title=Text(title, style="table.title"), title_justify="left")
    for head, _ in shown:
        table.add_column(head, overflow="fold", justify="left" if head in _WORDS | _PROSE else "right")
    for line in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*map(Text, line))
    return table


def number(value: float | None, digits: int = 4) -> str:
    """A number to read: whole ones from a hundred upwards, else `digits` decimals; empty where there is none."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.{digits}f}"


def _value(row: Row) -> str:
    """The value with its spread, or why there is none."""
    if row.value is None:
        return row.reason or ""
    return number(row.value) if row.sd is None else f"{number(row.value)} ± {number(row.sd)}"


def _init(row: Row) -> str:
    return f"{row.init} ({row.source})" if row.init and row.source else row.init or ""


def _word(field: str) -> Callable[[Row], str]:
    return lambda row: "" if getattr(row, field) is None else str(getattr(row, field))


def _number(field: str) -> Callable[[Row], str]:
    return lambda row: number(getattr(row, field))


def _interval(row: Row) -> str:
    return "" if row.interval is None else " … ".join(number(bound) for bound in row.interval)


def _published(row: Row) -> str:
    return "" if row.published is None else f"{number(row.published)} [{row.mark}]"


_WORDS = frozenset({"model", "init", "label", "metric", "layer", "layer b", "pair", "measure", "train size", "test"})
_PROSE = frozenset({"question", "answer", "advice"})
_MODEL: Column = ("model", _word("model"))
_INIT: Column = ("init", _init)
_SIZE: Column = ("train size", _word("train_size"))
_LABEL: Column = ("label", _word("label"))
_METRIC: Column = ("metric", _word("metric"))
_PAIR: Column = ("pair", _word("pair"))
_LAYER: Column = ("layer", _word("layer"))
_MEASURE: Column = ("measure", _word("measure"))
_VALUE: Column = ("value", _value)
_N: Column = ("n", _word("n"))
_NULL: Column = ("null (iid)", _number("null_iid"))
_PERMUTED: Column = ("null (perm.)", _number("null_permutation"))
_UNTRAINED: Column = ("untrained", _number("null_untrained"))
_P: Column = ("p", _number("p_value"))
_TEST: Column = ("test", _word("test"))
_HOLM: Column = ("p (Holm)", _number("p_adjusted"))
_SEEDS: Column = ("seeds needed", _word("seeds_needed"))
_INTERVAL: Column = ("95% interval", _interval)
_PUBLISHED: Column = ("published", _published)
_EVERY: Sequence[Column] = (
    _MODEL,
    _INIT,
    _SIZE,
    ("seed", _word("seed")),
    _LABEL,
    _METRIC,
    _PAIR,
    _LAYER,
    ("layer b", _word("layer_b")),
    _MEASURE,
    ("step", _word("step")),
    _VALUE,
    _N,
    _INTERVAL,
    _NULL,
    _PERMUTED,
    _UNTRAINED,
    _P,
    _TEST,
    _HOLM,
    _SEEDS,
    _PUBLISHED,
)


def _performance(rows: Sequence[Row]) -> list[TitledRows]:
    tried = [row for row in rows if row.lr is not None]
    rows = [row for row in rows if row.lr is None]
    headlines = _headlines(rows)
    shown = [row for row in rows if row.label in headlines]
    arms = [row for row in shown if row.metric == "auroc" and row.pair is None]
    resampled = {_place(row): row for row in shown if row.metric == "auroc_resampled"}
    others: Column = (
        "on other patients",
        lambda row: _interval(resampled[_place(row)]) if _place(row) in resampled else "",
    )
    auroc: Column = ("AUROC (mean ± sd)", _value)
    return [
        ("Performance (Table 1)", (_MODEL, _INIT, _SIZE, _LABEL, auroc, _N, _INTERVAL, others, _PUBLISHED), arms),
        _differences(rows),
        (
            "Learning rates, chosen on validation",
            (_MODEL, _INIT, _METRIC, ("rate", lambda row: f"{row.lr:g}"), _VALUE, ("chosen", _chosen)),
            tried,
        ),
    ]


def _place(row: Row) -> tuple[object, ...]:
    return row.model, row.init, row.source, row.train_size, row.label


def _differences(rows: Sequence[Row]) -> TitledRows:
    """Whether inits differ (t), and whether they are equivalent (TOST)."""
    metrics, headlines = ("auroc", "auroc_difference"), _headlines(rows)
    pairs = [row for row in rows if row.pair is not None and row.metric in metrics and row.label in headlines]
    delta: Column = ("delta AUROC", _value)
    columns = (_MODEL, _PAIR, _SIZE, _LABEL, delta, _INTERVAL, _TEST, _P, _HOLM, _SEEDS)
    return "Differences of inits, same seeds", columns, pairs


def _small_data(rows: Sequence[Row]) -> list[TitledRows]:
    arms = [row for row in rows if row.pair is None and row.metric == "auroc"]
    auroc: Column = ("AUROC (mean ± sd)", _value)
    columns = (_MODEL, _INIT, _SIZE, _LABEL, auroc, _N, _INTERVAL, _PUBLISHED)
    return [("Small data (Table 3)", columns, arms), _differences(rows)]


def _chosen(row: Row) -> str:
    return "yes" if row.chosen else ""


def _headlines(rows: Sequence[Row]) -> set[str | None]:
    """The labels that stand for a whole run, and those that have a published value beside them; else all."""
    labels = {row.label for row in rows}
    wanted = {row.label for row in rows if row.published is not None} | (HEADLINES & labels)
    return wanted or labels


def _similarity(rows: Sequence[Row]) -> list[TitledRows]:
    columns = (_MODEL, _PAIR, _LAYER, _MEASURE, _VALUE, _N, _NULL, _PERMUTED, _UNTRAINED, _P, _HOLM, _PUBLISHED)
    return [("Similarity of trained networks (Figure 2)", columns, [row for row in rows if row.metric is None])]


def _movement(rows: Sequence[Row]) -> list[TitledRows]:
    whole = [row for row in rows if row.step is None and row.start is None and not row.picture and not row.metric]
    columns = (_MODEL, _INIT, _LAYER, _MEASURE, _VALUE, _N, _NULL, _PERMUTED)
    explained: Column = ("R² of the end by the start", _value)
    starts = [row for row in rows if row.metric == "r2"]
    return [
        ("Movement during training", columns, whole),
        ("Alike before and after (Figure 3)", (_MODEL, _SIZE, _LAYER, _MEASURE, explained, _N), starts),
    ]


def _reuse(rows: Sequence[Row]) -> list[TitledRows]:
    columns = (_MODEL, _INIT, _PAIR, _LAYER, _MEASURE, _VALUE, _N, _NULL, _PERMUTED)
    return [("Before and after training, layer by layer (Figure 4)", columns, rows)]


def _convergence(rows: Sequence[Row]) -> list[TitledRows]:
    summary = [row for row in rows if row.seed is None and row.step is None]
    areas = [row for row in summary if row.metric == "area_under_curve"]
    pairs = [row for row in summary if row.pair is not None and row not in areas]
    arms = [row for row in summary if row.pair is None and row not in areas]
    steps = (_MODEL, _INIT, _SIZE, _METRIC, ("steps", _value), _N, _INTERVAL, _PUBLISHED)
    tested = (_MODEL, _INIT, _SIZE, _METRIC, _PAIR, _VALUE, _N, _INTERVAL, _TEST, _P, _HOLM, _SEEDS, _PUBLISHED)
    return [
        ("Steps to threshold (Figure 5)", steps, arms),
        ("Times faster than random", tested, pairs),
        ("Mean AUROC on the way", tested, areas),
    ]


def _transfusion(rows: Sequence[Row]) -> list[TitledRows]:
    columns = (_MODEL, _INIT, _SIZE, ("stages", _word("stage")), _METRIC, _PAIR, _VALUE, _N, _INTERVAL)
    return [("Reused stages", columns, rows)]


def _verdict(rows: Sequence[Row]) -> list[TitledRows]:
    question: Column = ("question", _word("question"))
    columns = (question, _MODEL, _SIZE, ("answer", _word("answer")), _VALUE, _INTERVAL, _N, _P, _PUBLISHED)
    advice: Column = ("advice", _word("text"))
    return [
        ("Verdict: does this dataset agree with the published claims?", columns, [row for row in rows if row.answer]),
        ("Advice", (advice,), [row for row in rows if not row.answer]),
    ]


def _any_section(name: str) -> Callable[[Sequence[Row]], list[TitledRows]]:
    return lambda rows: [(name.capitalize(), _EVERY, rows)]


_TABLES: dict[str, Callable[[Sequence[Row]], list[TitledRows]]] = {
    "performance": _performance,
    "small_data": _small_data,
    "similarity": _similarity,
    "movement": _movement,
    "reuse": _reuse,
    "convergence": _convergence,
    "transfusion": _transfusion,
    "verdict": _verdict,
}
