"""A report as one offline HTML file: the tables, and the charts drawn as SVG. It loads nothing from anywhere."""

from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from transfusion_core.specs.report import Report, ReportSection, Row


def render(report: Report) -> str:
    """The report as a page. Names are escaped; nothing in it is executed."""
    page = Environment(
        loader=PackageLoader("transfusion_core.reporting"), autoescape=select_autoescape(), trim_blocks=True
    ).get_template("report.html")
    return page.render(report=report, columns=_columns, charts=_drawings, shown=_shown)


def draw(chart: dict[str, Any]) -> str:
    """A Vega-Lite chart as SVG, without a browser and without the network."""
    svg: str = vl_convert.vegalite_to_svg(chart, allowed_base_urls=[])
    return svg


def _drawings(section: ReportSection) -> dict[str, Markup]:
    return {name: Markup(draw(chart)) for name, chart in section.charts.items()}


def _columns(section: ReportSection) -> list[str]:
    """The columns that say something in this section."""
    return [name for name in Row.model_fields if any(getattr(row, name) is not None for row in section.table)]


def _shown(row: Row, column: str) -> str:
    value = getattr(row, column)
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return " to ".join(f"{end:.4g}" for end in value) if isinstance(value, list) else str(value)
