"""The report as HTML, CSV and Parquet, and its charts as pictures."""

import base64
import csv
import gzip
import io
import json
import re
import subprocess
import sys

import pytest
from arro3.io import read_parquet

from studies import expansion, jobs
from transfusion_core.reporting import html, pictures
from transfusion_core.reporting.build import build
from transfusion_core.reporting.charts import CHARTS
from transfusion_core.reporting.long_table import COLUMNS, flat, from_csv, to_csv, to_parquet
from transfusion_core.specs.report import Report, ReportSection, Row

HOSTILE = '</script><script>alert(1)</script>,"\n\r;=1'


@pytest.fixture(scope="module")
def report() -> Report:
    """The report of the example experiment, of which a cell is missing; two train sizes, rates that were tried."""
    expanded = expansion(train_sizes=[100, "all"], training={"steps": 60, "lr": {"grid": [0.01, 0.001]}})
    failed = jobs(expanded, failed=lambda labels: labels.get("seed") == 1 and labels.get("init") == "random")
    return build(expanded.spec.model_dump(mode="json"), failed)


def test_the_page_loads_nothing_and_has_every_section_and_the_bundle_once(report: Report) -> None:
    page = html.render(report)
    bundle, own = html._scripts()
    assert page.count(bundle) == page.count(own) == 1
    ours = page.replace(bundle, "").replace(own, "")
    assert all(word not in ours for word in ("http://", "https://", "src=//"))
    assert ours.count("<section") == len(report.sections) + 3
    assert ours.count("<img alt=") == sum(len(section.charts) for section in report.sections.values())
    assert "cbr-tiny random, 100 images, seed 1 (failed: nan)" in page


def test_names_on_the_page_are_escaped_in_tables_charts_and_spec(report: Report) -> None:
    hostile = report.model_copy(deep=True)
    hostile.sections["performance"].table[0].model = HOSTILE
    hostile.sections["performance"].charts["performance"]["title"] = HOSTILE
    hostile.spec["dataset"] = hostile.methods = hostile.experiment = HOSTILE
    hostile.sections["reuse"].missing.append(HOSTILE)
    page = html.render(hostile)
    assert "<script>alert" not in page
    assert page.count("<script") == page.count("</script") == 3


def test_the_page_may_do_no_more_than_run_its_own_scripts(report: Report) -> None:
    assert f'content="{html.policy()}"'.replace("'", "&#39;") in html.render(report)
    assert "default-src 'none'" in html.policy()
    assert "unsafe" not in html.policy().replace("style-src 'unsafe-inline'", "")


def test_the_page_holds_every_number_as_csv_and_every_chart_as_data(report: Report) -> None:
    page = html.render(report)
    packed = re.findall(r'href="data:application/gzip;base64,([^"]*)"|id="charts">([^<]*)<', page)
    (numbers, _), (_, charts) = packed
    assert gzip.decompress(base64.b64decode(numbers)).decode() == to_csv(report)
    assert json.loads(gzip.decompress(base64.b64decode(charts))) == [
        chart for section in report.sections.values() for chart in section.charts.values()
    ]


def test_long_tables_and_large_pictures_are_cut_and_the_page_says_so(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "ROWS_SHOWN", 10)
    monkeypatch.setattr(html, "PICTURE_BYTES", 1000)
    page = html.render(report)
    charts = [chart for section in report.sections.values() for chart in section.charts]
    assert page.replace(html._scripts()[0], "").count("<tr") == len(report.sections) * 11
    assert page.count("The first 10; the CSV has all.") == len(report.sections)
    assert page.count("This chart is too large for a picture") == len(charts)


def test_the_page_of_a_study_too_large_to_mail_leaves_the_csv_out_and_says_so(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html, "PAGE_BYTES", 1000)
    page = html.render(report)
    assert "Every number is in report.csv, which is too large for this file." in page
    assert "data:application/gzip" not in page


def test_an_empty_report_is_a_page_too() -> None:
    page = html.render(Report(digest="d" * 64, created_at="t", sections={}))
    assert "Run it again" not in page


def test_the_csv_has_a_line_per_number(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(lines) == sum(len(section.table) for section in report.sections.values())
    assert {line["section"] for line in lines} == set(report.sections)
    assert list(lines[0]) == COLUMNS


def test_the_csv_gives_every_row_and_every_chart_back(report: Report) -> None:
    tables = from_csv(to_csv(report))
    assert tables == {name: section.table for name, section in report.sections.items()}
    for name, section in report.sections.items():
        assert section.charts or name == "verdict"
        for chart, drawn in section.charts.items():
            assert CHARTS[chart](tables[name]) == drawn


def test_words_with_marks_of_csv_come_back_from_it(report: Report) -> None:
    row = Row(model=HOSTILE, label="=1+1", value=0.1 + 0.2, interval=[-1e-300, 1.0], chosen=False)
    odd = report.model_copy(
        update={"sections": {"reuse": report.sections["reuse"].model_copy(update={"table": [row]})}}
    )
    assert from_csv(to_csv(odd)) == {"reuse": [row]}


def test_the_parquet_has_the_same_numbers_in_columns_of_their_types(report: Report) -> None:
    table = read_parquet(io.BytesIO(to_parquet(report))).read_all()
    rows = flat(report)
    assert table.column_names == COLUMNS
    for name in COLUMNS:
        found = [row.get(name) for row in rows]
        words = [None if word is None else str(word) for word in found] if name == "train_size" else found
        assert table.column(name).to_pylist() == words
    assert [str(table.schema.field(name).type).strip() for name in ("value", "n", "chosen", "train_size")] == [
        *("arro3.core.DataType<Float64>", "arro3.core.DataType<Int64>"),
        *("arro3.core.DataType<Boolean>", "arro3.core.DataType<Utf8>"),
    ]


def test_every_chart_draws_the_values_of_its_table(report: Report) -> None:
    for section in report.sections.values():
        for chart in section.charts.values():
            (drawn,) = chart["datasets"].values()
            values = {row.value for row in section.table}
            assert drawn
            assert all(point.get("value") in values for point in drawn)


def test_every_chart_is_drawn_in_three_forms(report: Report) -> None:
    for section in report.sections.values():
        for chart in section.charts.values():
            assert pictures.svg(chart).startswith("<svg")
            assert pictures.png(chart).startswith(b"\x89PNG")
            assert pictures.pdf(chart).startswith(b"%PDF")


def test_the_files_are_made_where_numpy_and_torch_are_not_installed() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'torch', 'scipy', 'pandas', 'altair'): sys.modules[name] = None\n"
        "from transfusion_core.reporting import diff, html, latex, long_table\n"
        "from transfusion_core.specs.report import Report\n"
        "report = Report(digest='d', created_at='t', sections={})\n"
        "assert '<html' in html.render(report)\n"
        "assert 'document' in latex.to_latex(report)\n"
        "assert long_table.to_csv(report) and long_table.to_parquet(report)\n"
        "assert diff.compare(report, report).same\n"
    )
    path = ":".join(["core", *filter(None, sys.path)])
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})


def test_names_that_a_spreadsheet_would_reckon_out_are_words_in_the_csv_and_come_back_as_they_were(
    report: Report,
) -> None:
    words = ["=cmd|'/c calc'!A1", "+1", "-2", "@SUM(A1)", "'quoted", "\tx", "plain"]
    rows = [Row(model="m", init="random", metric="auroc", label=word, value=-0.5) for word in words]
    section = ReportSection(complete=True, missing=[], text="", charts={}, table=rows)
    text = to_csv(report.model_copy(update={"sections": {"performance": section}}))
    labels = [line["label"] for line in csv.DictReader(io.StringIO(text, newline=""))]
    assert labels == [f"'{word}" for word in words[:-1]] + ["plain"]
    assert {line["value"] for line in csv.DictReader(io.StringIO(text))} == {"-0.5"}
    assert from_csv(text) == {"performance": rows}
