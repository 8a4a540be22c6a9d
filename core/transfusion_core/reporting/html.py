"""A report as one offline HTML file that can be mailed: words, sortable tables, charts that answer, the numbers as CSV.

It loads nothing from anywhere. Its scripts are the Vega bundle and `templates/report.js`, allowed by their digests
alone; charts are data to them, whose expressions are interpreted, never evaluated. Without scripts they are pictures.
"""

import base64
import gzip
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from transfusion_core.reporting import pictures
from transfusion_core.reporting.long_table import to_csv
from transfusion_core.specs.report import Report, ReportSection, Row

ROWS_SHOWN = 500
"""Longer tables are cut on the page, which says so; the CSV has every row."""
PAGE_BYTES = 4_800_000
"""A page stays small enough to be mailed: a CSV that would make it larger is left out, and the page says so."""
PICTURE_BYTES = 1_000_000
"""What all pictures together may take as SVG; charts beyond it are drawn by the scripts alone, and the page says so."""

BUNDLE_SECONDS = 120
_BUNDLE = """
import sys, vl_convert
sys.stdout.buffer.write(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").encode())
"""
_BUNDLING = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A chart on the page."""

    name: str
    place: int
    """Among the packed charts."""
    picture: str | None
    """As a data address, for readers without scripts and until they have run."""


def render(report: Report) -> str:
    """The report as a page. All that users named is escaped."""
    charts = [chart for section in report.sections.values() for chart in section.charts.values()]
    page = template("report.html")
    words = {
        "report": report,
        "policy": policy(),
        "style": Markup(template_text("report.css")),
        "scripts": [Markup(script) for script in _scripts()],
        "charts": _packed(json.dumps(charts)),
        "figures": _figures(report),
        "columns": columns_of,
        "shown": _shown,
        "rows_shown": ROWS_SHOWN,
        "spec": yaml.safe_dump(report.spec, sort_keys=False) if report.spec else "",
    }
    whole = page.render(words, csv=_packed(to_csv(report)))
    return whole if len(whole.encode()) <= PAGE_BYTES else page.render(words, csv="")


def template(name: str) -> Template:
    """A page's template, which escapes what it is given."""
    environment = Environment(
        loader=PackageLoader("transfusion_core.reporting"),
        autoescape=select_autoescape(),
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(name)


@cache
def policy() -> str:
    """What the page may do, as a Content-Security-Policy: its own scripts and styles, and no request at all."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in _scripts()]
    scripts = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _scripts() -> tuple[str, str]:
    """The bundle of Vega, Vega-Lite and Vega-Embed, and our own script."""
    return vega_bundle(), template_text("report.js")


def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, which defines `vegaEmbed`; made once, in some seconds."""
    with _BUNDLING:
        return _vega_bundle()


@cache
def _vega_bundle() -> str:
    # In a process of its own: vl-convert holds Python's lock all that time, and a service would answer nobody.
    made = subprocess.run([sys.executable, "-c", _BUNDLE], stdout=subprocess.PIPE, check=True, timeout=BUNDLE_SECONDS)
    return made.stdout.decode()


def template_text(name: str) -> str:
    """A file among the templates, as it is."""
    return files("transfusion_core.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def _packed(text: str) -> str:
    """Text as gzip in base64; the same text gives the same."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _figures(report: Report) -> dict[str, list[Figure]]:
    """The charts of each section, with pictures as far as they may take room."""
    left, place = PICTURE_BYTES, 0
    figures: dict[str, list[Figure]] = {}
    for name, section in report.sections.items():
        figures[name] = []
        for chart, spec in section.charts.items():
            drawn = _picture(spec, left)
            left -= len(drawn or "")
            figures[name].append(Figure(name=chart, place=place, picture=_address(drawn)))
            place += 1
    return figures


def _picture(chart: dict[str, Any], most_bytes: int) -> str | None:
    """The chart as SVG unless that is too long."""
    drawn = pictures.svg(chart)
    return drawn if len(drawn) <= most_bytes else None


def _address(drawn: str | None) -> str | None:
    """As an image, SVG neither runs scripts nor shares its ids with the other pictures."""
    return drawn and f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def columns_of(section: ReportSection) -> list[str]:
    """The columns that say something in this section; `value` always, as it says that there is none.

    Pictures are left to the charts.
    """
    said = {"value"} | {
        name for row in section.table for name in row.model_fields_set if getattr(row, name) is not None
    }
    return [name for name in Row.model_fields if name in said - {"picture"}]


def _shown(row: Row, columns: list[str]) -> Iterator[str]:
    return (cell(getattr(row, column), column) for column in columns)


def cell(value: Any, column: str) -> str:
    """What a table shows of a value; an empty one of column `value` is said to be none."""
    if value is None:
        return "–" if column == "value" else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return " to ".join(f"{end:.4g}" for end in value) if isinstance(value, list) else str(value)
