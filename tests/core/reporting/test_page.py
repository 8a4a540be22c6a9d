"""The report's page, opened from the file system in Chromium with the network off."""

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import Opened, open_page
from studies import expansion, jobs
from transfusion_core.reporting import html
from transfusion_core.reporting.build import build
from transfusion_core.specs.report import Report

HOSTILE = "</script><script>console.error('run')</script><img src=x onerror=console.error('run')>"


class Tags(HTMLParser):
    """The elements of a page by name, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.names[tag] += 1

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def count(self, tag: str) -> int:
        return self.names[tag]


@pytest.fixture(scope="module")
def report() -> Report:
    """A report of which a cell is missing, whose names are markup wherever users name something."""
    expanded = expansion()
    done = jobs(expanded, failed=lambda labels: labels.get("seed") == 1 and labels.get("init") == "random")
    for job in done:
        if job["labels"].get("source"):
            job["labels"]["source"] = HOSTILE
        if job["kind"] == "train" and job["result"]:
            job["result"]["metrics"]["test"]["labels"][1]["label"] = HOSTILE
    return build(expanded.spec.model_dump(mode="json"), done)


@pytest.fixture(scope="module")
def opened(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """The page after its scripts, and one that clicks a header of the first table, have run."""
    folder = tmp_path_factory.mktemp("page")
    file = folder / "report.html"
    file.write_text(html.render(report), encoding="utf-8")
    return open_page(file, folder=folder)


def test_the_page_opens_without_a_word_on_the_console(opened: Opened) -> None:
    assert opened.console == []


def test_every_chart_answers_in_the_place_of_its_picture(opened: Opened, report: Report) -> None:
    charts = sum(len(section.charts) for section in report.sections.values())
    assert 'data-drawn="yes"' in opened.content
    assert opened.content.count('<svg xmlns="http://www.w3.org/2000/svg"') >= charts
    assert "data:image/svg+xml" not in opened.content


def test_names_that_are_markup_are_shown_as_they_are(opened: Opened) -> None:
    tags = Tags(opened.content)
    assert (tags.count("script"), tags.count("img")) == (3, 0)
    assert HOSTILE in tags.words


def test_tables_are_sorted_by_their_headers(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    click = "document.querySelectorAll('section:first-of-type th button')[{}].click();"
    bundle, own = html._scripts()
    column = html._columns(report.sections["performance"]).index("value")
    monkeypatch.setattr(html, "_scripts", lambda: (bundle, own + click.format(column) * 2))
    html.policy.cache_clear()
    (tmp_path / "report.html").write_text(html.render(report), encoding="utf-8")
    html.policy.cache_clear()
    content = open_page(tmp_path / "report.html", folder=tmp_path).content
    body = content.partition("<tbody>")[2].partition("</tbody>")[0]
    cells = [line.split("<td>")[column + 1].removesuffix("</td>") for line in body.split("<tr")[1:]]
    values = [float(cell.partition("<")[0]) for cell in cells if cell[0] != "–"]
    assert len(re.findall('<th[^>]*aria-sort="descending"', content)) == 1
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 3
