"""The report as LaTeX: it compiles, and whatever users named stands in it as they wrote it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from servers import missing_server
from studies import expansion, jobs
from transfusion_core.reporting import latex, pictures
from transfusion_core.reporting.build import build
from transfusion_core.reporting.latex import escape, number, to_latex
from transfusion_core.specs.report import Report, Row

HOSTILE = "\\end{document} $x_1^2$ & # % ~ {} <|> \" ' ` é Å ő ç ß ł 中 \U0001f600 \u00a4 \x07 ± – [1]"


@pytest.fixture(scope="module")
def report() -> Report:
    """A report of which a cell is missing, with names that are LaTeX."""
    expanded = expansion()
    failed = jobs(expanded, failed=lambda labels: labels.get("seed") == 1 and labels.get("init") == "random")
    made = build(expanded.spec.model_dump(mode="json"), failed)
    made.sections["performance"].table[0].label = HOSTILE
    made.sections["performance"].missing.append(HOSTILE)
    made.sections["performance"].text += HOSTILE
    made.sections["reuse"].table[0].reason, made.sections["reuse"].table[0].value = HOSTILE, None
    row = Row(question=HOSTILE, answer="cannot tell", text=HOSTILE, value=None, published=0.5, mark="t")
    made.sections["verdict"] = made.sections["reuse"].model_copy(update={"table": [row], "charts": {}})
    return made.model_copy(update={"methods": made.methods + HOSTILE})


def test_every_special_character_is_escaped() -> None:
    assert escape("a_b & 100% #1 $ {x} ~^\\") == (
        r"a\_b \& 100\% \#1 \$ \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert escape("é ő Å ø 中\n") == r"\'{e} \H{o} \r{A} \o{} [U+4E2D] "


def test_numbers_are_short_and_keep_their_order() -> None:
    assert [number(value) for value in (0.86543, -0.5, 8300.0, 1.3e-7, 0.0)] == [
        *(r"\(0.8654\)", r"\(-0.5000\)", r"\(8300\)", r"\(1.3 \cdot 10^{-7}\)", r"\(0.0000\)"),
    ]


def test_the_document_is_ascii_and_its_environments_and_braces_balance(report: Report) -> None:
    text = to_latex(report)
    assert text.isascii()
    assert re.findall(r"\\begin\{(\w+)\}", text).count("longtable") == re.findall(r"\\end\{(\w+)\}", text).count(
        "longtable"
    )
    bare = re.sub(r"\\[{}\\]", "", text)
    assert bare.count("{") == bare.count("}")
    assert text.count(r"\end{document}") == 1
    assert "raghu2019transfusion" in text
    assert r"\toprule" in text


def test_long_tables_are_cut_and_say_so(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latex, "ROWS_SHOWN", 3)
    assert "(the first 3 of" in to_latex(report)


def test_the_document_compiles_with_its_figures(report: Report, tmp_path: Path) -> None:
    compiler = shutil.which("pdflatex")
    if compiler is None:
        missing_server("no pdflatex is installed")
    (tmp_path / "charts").mkdir()
    for section in report.sections.values():
        for name, chart in section.charts.items():
            (tmp_path / "charts" / f"{name}.pdf").write_bytes(pictures.pdf(chart))
    (tmp_path / "report.tex").write_text(to_latex(report))
    command = [str(compiler), "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "charts/figure-4.pdf" in done.stdout
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
