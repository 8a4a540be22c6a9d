"""The answers of an experiment: its report as JSON, HTML and CSV, and its charts as JSON and pictures."""

from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from transfusion_api.answers import Id
from transfusion_api.auth import needs
from transfusion_api.problems import documented
from transfusion_api.reports import chart_of, report_of, section_of
from transfusion_api.service import Serving
from transfusion_core.specs.report import Report, ReportSection

router = APIRouter(prefix="/v1/experiments/{experiment_id}", tags=["reports"], dependencies=[needs("read")])
ChartName = Annotated[str, Path(max_length=128)]
PNG_SCALE = 2.0


@router.get("/report", responses=documented(404, 409))
def get_report(service: Serving, experiment_id: Id) -> Report:
    """The whole report; `not_ready` until it is made."""
    return report_of(service, experiment_id)


@router.get("/report.html", responses=documented(404, 409), response_class=HTMLResponse)
def get_report_html(service: Serving, experiment_id: Id) -> HTMLResponse:
    """The report as one offline page."""
    from transfusion_core.reporting import html  # the drawing engine takes long to import

    return HTMLResponse(html.render(report_of(service, experiment_id)))


@router.get("/report.csv", responses=documented(404, 409), response_class=PlainTextResponse)
def get_report_csv(service: Serving, experiment_id: Id) -> PlainTextResponse:
    """Every number of the report, a row each."""
    from transfusion_core.reporting.long_table import to_csv

    return PlainTextResponse(to_csv(report_of(service, experiment_id)), media_type="text/csv; charset=utf-8")


@router.get("/report/{section}", responses=documented(404, 409))
def get_report_section(service: Serving, experiment_id: Id, section: Id) -> ReportSection:
    """One section of the report."""
    return section_of(report_of(service, experiment_id), section)


@router.get("/charts/{name}.json", responses=documented(404, 409))
def get_chart_json(service: Serving, experiment_id: Id, name: ChartName) -> dict[str, Any]:
    """A chart as a Vega-Lite specification."""
    return chart_of(report_of(service, experiment_id), name)


@router.get("/charts/{name}.svg", responses=documented(404, 409), response_class=Response)
def get_chart_svg(service: Serving, experiment_id: Id, name: ChartName) -> Response:
    """A chart as SVG."""
    from transfusion_core.reporting.html import draw

    return Response(draw(chart_of(report_of(service, experiment_id), name)), media_type="image/svg+xml")


@router.get("/charts/{name}.png", responses=documented(404, 409), response_class=Response)
def get_chart_png(service: Serving, experiment_id: Id, name: ChartName) -> Response:
    """A chart as PNG, at twice its size."""
    import vl_convert

    chart = chart_of(report_of(service, experiment_id), name)
    return Response(vl_convert.vegalite_to_png(chart, scale=PNG_SCALE, allowed_base_urls=[]), media_type="image/png")
