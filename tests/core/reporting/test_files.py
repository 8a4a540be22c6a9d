"""The report as HTML and CSV, and its charts as pictures."""

import csv
import io
import subprocess
import sys

import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.html import draw, render
from transfusion_core.reporting.long_table import to_csv
from transfusion_core.specs.report import Report


@pytest.fixture(scope="module")
def report() -> Report:
    """The report of the example experiment."""
    expanded = expansion()
    return build(expanded.spec.model_dump(mode="json"), jobs(expanded))


def test_the_page_loads_nothing_and_shows_every_section(report: Report) -> None:
    page = render(report)
    assert "<script" not in page
    assert all(word not in page.replace("http://www.w3.org/", "") for word in ("http://", "https://"))
    assert page.count("<section") == 6
    assert page.count("<svg") == 9


def test_names_are_escaped_on_the_page(report: Report) -> None:
    hostile = report.model_copy(deep=True)
    hostile.sections["performance"].table[0].model = "<script>alert(1)</script>"
    assert "<script>alert" not in render(hostile)


def test_the_csv_has_a_line_per_number(report: Report) -> None:
    lines = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(lines) == sum(len(section.table) for section in report.sections.values())
    assert {line["section"] for line in lines} == set(report.sections)


def test_every_chart_draws_the_values_of_its_table(report: Report) -> None:
    for section in report.sections.values():
        for chart in section.charts.values():
            (drawn,) = chart["datasets"].values()
            values = {row.value for row in section.table}
            assert drawn
            assert all(point.get("value") in values for point in drawn)
            assert draw(chart).startswith("<svg")


def test_the_page_is_made_where_numpy_and_torch_are_not_installed() -> None:
    code = (
        "import sys\n"
        "for name in ('numpy', 'torch', 'scipy', 'pandas'): sys.modules[name] = None\n"
        "from transfusion_core.reporting import html, long_table\n"
        "from transfusion_core.specs.report import Report\n"
        "assert '<html' in html.render(Report(digest='d', created_at='t', sections={}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "core"})
