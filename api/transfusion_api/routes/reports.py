"""The answers of an experiment: its report in every form, what it says that another one does not, and its charts."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from transfusion_api.answers import Id, Page
from transfusion_api.auth import needs
from transfusion_api.problems import documented
from transfusion_api.reports import chart_of, other_of, report_of, section_of, version_of, versions_of
from transfusion_api.service import Serving
from transfusion_core.reporting.diff import compare
from transfusion_core.specs.report import Report, ReportDiff, ReportSection, ReportVersion

router = APIRouter(prefix="/v1/experiments/{experiment_id}", tags=["reports"], dependencies=[needs("read")])
ChartName = Annotated[str, Path(max_length=128)]
Other = Annotated[str, Query(max_length=128)]


@router.get("/report", responses=documented(404, 409))
def get_report(service: Serving, experiment_id: Id) -> Report:
    """The whole report; `not_ready` until it is made."""
    return report_of(service, experiment_id)


@router.get("/report.html", responses=documented(404, 409), response_class=HTMLResponse)
def get_report_html(service: Serving, experiment_id: Id) -> HTMLResponse:
    """The report as one offline page."""
    from transfusion_core.reporting import html  # the drawing engine takes long to import

    policy = f"{html.policy()}; frame-ancestors 'none'"
    return HTMLResponse(html.render(report_of(service, experiment_id)), headers={"Content-Security-Policy": policy})


@router.get("/report.csv", responses=documented(404, 409), response_class=PlainTextResponse)
def get_report_csv(service: Serving, experiment_id: Id) -> PlainTextResponse:
    """Every number of the report, a row each."""
    from transfusion_core.reporting.long_table import to_csv

    return PlainTextResponse(to_csv(report_of(service, experiment_id)), media_type="text/csv; charset=utf-8")


@router.get("/report.parquet", responses=documented(404, 409), response_class=Response)
def get_report_parquet(service: Serving, experiment_id: Id) -> Response:
    """Every number of the report, a row each."""
    from transfusion_core.reporting.long_table import to_parquet

    return Response(to_parquet(report_of(service, experiment_id)), media_type="application/vnd.apache.parquet")


@router.get("/report.tex", responses=documented(404, 409), response_class=PlainTextResponse)
def get_report_tex(service: Serving, experiment_id: Id) -> PlainTextResponse:
    """The report as a LaTeX document."""
    from transfusion_core.reporting.latex import to_latex

    return PlainTextResponse(to_latex(report_of(service, experiment_id)), media_type="application/x-tex")


@router.get("/report/diff", responses=documented(404, 409))
def get_report_diff(service: Serving, experiment_id: Id, against: Other) -> ReportDiff:
    """What the report says that an earlier one does not: `against` is an experiment, or a digest among `/reports`."""
    return compare(report_of(service, experiment_id), other_of(service, experiment_id, against))


@router.get("/report/diff.html", responses=documented(404, 409), response_class=HTMLResponse)
def get_report_diff_html(service: Serving, experiment_id: Id, against: Other) -> HTMLResponse:
    """The same as a page."""
    from transfusion_core.reporting import diff_page

    found = compare(report_of(service, experiment_id), other_of(service, experiment_id, against))
    return HTMLResponse(diff_page.render_diff(found), headers={"Content-Security-Policy": diff_page.POLICY})


@router.get("/reports", responses=documented(404))
def list_reports(service: Serving, experiment_id: Id) -> Page[ReportVersion]:
    """What the experiment has answered so far, the newest first: runs tried again give a new report."""
    return Page[ReportVersion](items=versions_of(service, experiment_id), next=None)


@router.get("/reports/{digest}", responses=documented(404))
def get_report_version(service: Serving, experiment_id: Id, digest: Id) -> Report:
    """One of these reports, by its digest."""
    return version_of(service, experiment_id, digest)


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
    from transfusion_core.reporting.pictures import svg

    return Response(svg(chart_of(report_of(service, experiment_id), name)), media_type="image/svg+xml")


@router.get("/charts/{name}.png", responses=documented(404, 409), response_class=Response)
def get_chart_png(service: Serving, experiment_id: Id, name: ChartName) -> Response:
    """A chart as PNG, at twice its size."""
    from transfusion_core.reporting.pictures import png

    return Response(png(chart_of(report_of(service, experiment_id), name)), media_type="image/png")


@router.get("/charts/{name}.pdf", responses=documented(404, 409), response_class=Response)
def get_chart_pdf(service: Serving, experiment_id: Id, name: ChartName) -> Response:
    """A chart as PDF."""
    from transfusion_core.reporting.pictures import pdf

    return Response(pdf(chart_of(report_of(service, experiment_id), name)), media_type="application/pdf")
