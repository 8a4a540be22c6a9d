"""The report's page, opened from the file system in Chromium with the network off."""

import base64
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from browser import Driven, Opened, driven, open_page
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
    column = html.columns_of(report.sections["performance"]).index("value")
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


@pytest.fixture(scope="module")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driven]:
    """The page, to press keys on."""
    folder = tmp_path_factory.mktemp("driven")
    (folder / "report.html").write_text(html.render(report), encoding="utf-8")
    with driven(folder / "report.html", folder=folder) as opened:
        yield opened


FOCUSED = "(({tagName, textContent}) => tagName + textContent.trim())(document.activeElement)"
OUTLINE = "getComputedStyle(document.activeElement).outline"
UNFOLDED = "document.querySelectorAll('section > details[open]').length"


def test_a_table_is_unfolded_and_sorted_by_the_keyboard_and_the_focus_is_seen(page: Driven) -> None:
    page.press("Tab", 9)
    assert page.run(FOCUSED).startswith("A")
    assert "solid 2px" in page.run(OUTLINE)
    page.run("document.querySelector('section > details > summary').focus()")
    page.press("Enter", 13, "\r")
    page.press("Tab", 9)
    page.press("Tab", 9)
    assert page.run(FOCUSED) == "BUTTONmodel"
    assert "solid 2px" in page.run(OUTLINE)
    directions = []
    for key, code, text in (("Enter", 13, "\r"), (" ", 32, " ")):
        page.press(key, code, text)
        directions.append(page.run("document.activeElement.closest('th').ariaSort"))
    assert directions == ["ascending", "descending"]
    page.press("Escape", 27)
    page.run("document.querySelector('section > details').open = false")


def test_paper_has_every_table_unfolded_and_none_wider_than_itself(page: Driven, report: Report) -> None:
    tables = "[...document.querySelectorAll('table')]"
    assert page.run(UNFOLDED) == 0
    pdf = base64.b64decode(page.call("Page.printToPDF", preferCSSPageSize=True)["data"])
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 2 * len(report.sections), "tables take pages"
    assert page.run(UNFOLDED) == 0, "what was folded is folded again"
    page.call("Emulation.setEmulatedMedia", media="print")
    page.call("Emulation.setDeviceMetricsOverride", width=1016, height=700, deviceScaleFactor=1, mobile=False)
    page.run("void dispatchEvent(new Event('beforeprint'))")
    assert page.run(f"{tables}.every(table => table.offsetHeight > 0)")
    assert page.run("document.documentElement.scrollWidth") <= 1016
    assert page.run("getComputedStyle(document.querySelector('nav')).display") == "none"
