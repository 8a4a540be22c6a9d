"""A report as a LaTeX document: methods, the tables as the paper draws them (booktabs), figures, bibliography.

The document is plain ASCII and compiles alone by pdflatex; beside the folder `charts` it shows the figures too.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from transfusion_core.specs.report import Report, ReportSection, Row

ROWS_SHOWN = 100
"""Longer tables are cut, and say so: a document of all layers of all networks is for nobody; the CSV has them."""

_PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs,longtable,graphicx}
\setlength{\parindent}{0pt}
\setlength{\parskip}{.6\baselineskip}
\setlength{\tabcolsep}{4pt}
\setcounter{LTchunksize}{1000}
\sloppy
\begin{document}
"""


class Column(NamedTuple):
    """A column of a table."""

    head: str
    text: Callable[[Row], str]
    alignment: str = "l"


class Table(NamedTuple):
    """Some rows of a section, as they are printed."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Row]


def to_latex(report: Report) -> str:
    """The whole document."""
    sections = "".join(_section(name, section) for name, section in report.sections.items())
    methods = "\n\n".join(_paragraph(text) for text in report.methods.split("\n\n"))
    return (
        f"{_PREAMBLE}\\section*{{Transfusion report {report.digest[:12]}}}\n"
        f"\\subsection*{{Methods}}\n{methods}\n{sections}{_bibliography(report)}"
        f"\\footnotesize sha256 of the numbers and of how they were made: {_paragraph(report.digest)}\n"
        "\\end{document}\n"
    )


def _section(name: str, section: ReportSection) -> str:
    tables = "".join(_table(table) for table in _TABLES.get(name, _all_rows)(section.table) if table.rows)
    missing = "; ".join(section.missing)
    return (
        f"\\subsection*{{{escape(name.replace('_', ' ').capitalize())}}}\n{_paragraph(section.text)}\n\n"
        + (f"\\textbf{{Incomplete; missing:}} {escape(missing)}.\n\n" if missing else "")
        + "".join(map(_figure, section.charts))
        + tables
    )


def _figure(name: str) -> str:
    file = f"charts/{name}.pdf"
    shown = f"\\includegraphics[width=\\linewidth,height=.4\\textheight,keepaspectratio]{{{file}}}"
    return f"\\IfFileExists{{{file}}}{{\\begin{{center}}{shown}\\end{{center}}}}{{}}\n"


def _table(table: Table) -> str:
    """A longtable, which may go over pages; a little space between models."""
    rows = table.rows[:ROWS_SHOWN]
    columns = [column for column in table.columns if any(column.text(row) for row in rows)]
    heads = " & ".join(escape(column.head) for column in columns)
    lines = [" & ".join(column.text(row) for column in columns) + r" \\" for row in rows]
    for place, (row, following) in enumerate(pairwise(rows)):
        lines[place] += r" \addlinespace" if row.model != following.model else ""
    cut = f" (the first {ROWS_SHOWN} of {len(table.rows)} rows)" if len(table.rows) > ROWS_SHOWN else ""
    title = f"\\multicolumn{{{len(columns)}}}{{l}}{{\\textbf{{{escape(table.title + cut)}}}}}"
    alignment = "".join(column.alignment for column in columns)
    body = "\n".join(lines)
    return (
        f"{{\\footnotesize\n\\begin{{longtable}}{{{alignment}}}\n{title} \\\\\n\\toprule\n{heads} \\\\\n"
        f"\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n{body}\n\\end{{longtable}}}}\n"
    )


def _bibliography(report: Report) -> str:
    if not report.references:
        return ""
    items = "".join(f"\\bibitem{{{known.key}}} {escape(known.text)}\n" for known in report.references)
    return f"\\begin{{thebibliography}}{{99}}\n{items}\\end{{thebibliography}}\n"


def _paragraph(text: str) -> str:
    """Prose; what stands between backticks as code, digests with places to break them."""
    words = text.split("`")
    prose = "".join(f"\\texttt{{{escape(word)}}}" if place % 2 else escape(word) for place, word in enumerate(words))
    return re.sub(r"\b[0-9a-f]{64}\b", lambda found: r"\allowbreak ".join(re.findall(".{8}", found[0])), prose)


_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\(<\)",
    ">": r"\(>\)",
    "|": r"\(|\)",
    '"': "''",
    "±": r"\(\pm\)",
    "–": "--",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "ø": r"\o{}",
    "ł": r"\l{}",
    "Æ": r"\AE{}",
    "Ø": r"\O{}",
    "Ł": r"\L{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
"""Combining marks, and LaTeX's commands for them."""


def escape(text: str) -> str:
    """Any text as LaTeX in ASCII; letters that its fonts lack as their code point."""
    return "".join(_letter(letter) for letter in unicodedata.normalize("NFC", text))


def _letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter.isascii():
        return letter if letter.isprintable() else " "
    base, *accents = [*unicodedata.normalize("NFD", letter)]
    if base.isascii() and base.isalpha() and len(accents) == 1 and accents[0] in _ACCENTS:
        return f"\\{_ACCENTS[accents[0]]}{{{base}}}"
    return f"[U+{ord(letter):04X}]"


def _word(field: str) -> Callable[[Row], str]:
    return lambda row: "" if getattr(row, field) is None else escape(str(getattr(row, field)))


def _number(field: str) -> Callable[[Row], str]:
    return lambda row: "" if getattr(row, field) is None else number(getattr(row, field))


def number(value: float) -> str:
    """A number to read: whole ones from a hundred upwards, else four decimals; very small ones by their order."""
    if value and abs(value) < 5e-5:
        share, power = f"{value:.1e}".split("e")
        return rf"\({share} \cdot 10^{{{int(power)}}}\)"
    return f"\\({value:.0f}\\)" if abs(value) >= 100 else f"\\({value:.4f}\\)"


def _value(row: Row) -> str:
    if row.value is None:
        return f"-- ({escape(row.reason)})" if row.reason else "--"
    return number(row.value) + ("" if row.sd is None else rf" \(\pm\) {number(row.sd)}")


def _interval(row: Row) -> str:
    return "" if row.interval is None else f"[{', '.join(map(number, row.interval))}]"


def _init(row: Row) -> str:
    return escape(f"{row.init} ({row.source})" if row.init and row.source else row.init or "")


def _size(row: Row) -> str:
    return "" if row.train_size in (None, "all") else f"{row.train_size}"


def _published(row: Row) -> str:
    return "" if row.published is None else f"{number(row.published)} [{escape(row.mark or '')}]"


_ARM = (Column("model", _word("model")), Column("init", _init), Column("images", _size, "r"))
_MEAN = (
    Column("mean and sd", _value, "p{3.2cm}"),
    Column("95% interval", _interval),
    Column("n", _word("n"), "r"),
    Column("published", _published),
)
_P = (
    Column("p", _number("p_value"), "r"),
    Column("test", _word("test")),
    Column("p adjusted", _number("p_adjusted"), "r"),
    Column("seeds needed", _word("seeds_needed"), "r"),
)
_NULLS = (
    Column("noise", _number("null_iid"), "r"),
    Column("shuffled", _number("null_permutation"), "r"),
    Column("untrained", _number("null_untrained"), "r"),
)
_PAIR = Column("pair", _word("pair"))
_LABEL = Column("label", _word("label"))
_METRIC = Column("metric", _word("metric"))
_MEASURE = Column("measure", _word("measure"))
_EVERY = (
    *_ARM,
    Column("seed", _word("seed"), "r"),
    Column("question", _word("question"), "p{3.5cm}"),
    *(Column("split", _word("split")), _LABEL, _METRIC, _PAIR),
    Column("layer", _word("layer")),
    _MEASURE,
    Column("step", _word("step"), "r"),
    *(*_MEAN, *_NULLS, *_P),
    Column("answer", _word("answer")),
    Column("in words", _word("text"), "p{5cm}"),
)


def _performance(rows: Sequence[Row]) -> list[Table]:
    rows = [row for row in rows if row.lr is None]
    arms, pairs = [row for row in rows if not row.pair], [row for row in rows if row.pair]
    return [
        Table("Quality on the test split", (*_ARM, _LABEL, _METRIC, *_MEAN), arms),
        Table(
            "Differences of inits over the same seeds", (_ARM[0], _PAIR, _ARM[2], _LABEL, _METRIC, *_MEAN, *_P), pairs
        ),
    ]


def _similarity(rows: Sequence[Row]) -> list[Table]:
    tops = [row for row in rows if row.layer is None]
    return [Table("Trained networks, top stages", (_ARM[0], _PAIR, _ARM[2], _MEASURE, *_MEAN, *_NULLS, *_P), tops)]


def _convergence(rows: Sequence[Row]) -> list[Table]:
    arms = [row for row in rows if row.seed is None and row.step is None]
    return [Table("Steps to threshold", (*_ARM, _PAIR, _METRIC, *_MEAN, *_P), arms)]


def _all_rows(rows: Sequence[Row]) -> list[Table]:
    return [Table("All rows", _EVERY, rows)]


_TABLES: dict[str, Callable[[Sequence[Row]], list[Table]]] = {
    "performance": _performance,
    "similarity": _similarity,
    "convergence": _convergence,
}
