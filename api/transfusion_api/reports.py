"""Reports and similarity reports as they are stored: read by digest, never computed here."""

import json
from typing import Any

from transfusion_api.service import Service
from transfusion_core.db import experiments
from transfusion_core.db.scope import Scope
from transfusion_core.errors import NotFound, NotReady
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.report import Report, ReportSection


def stored_json(service: Service, pointer: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that a job's result points at, its digest checked."""
    content: dict[str, Any] = json.loads(service.store.get_bytes(StoredObject.model_validate(pointer)))
    return content


def report_of(service: Service, scope: Scope, experiment_id: str) -> Report:
    """The report of an experiment; NotReady until its job has succeeded."""
    job = experiments.report_job(scope, experiment_id)
    if job.state != "succeeded" or job.result is None:
        raise NotReady(f"the report of experiment {experiment_id} is {job.state}; it is made when the runs have ended")
    content = stored_json(service, job.result["report"])
    return Report.model_validate({**content, "experiment": experiment_id})


def section_of(report: Report, name: str) -> ReportSection:
    """One section of a report."""
    if name not in report.sections:
        raise NotFound(f"the report has no section {name!r}; it has {', '.join(report.sections)}")
    return report.sections[name]


def chart_of(report: Report, name: str) -> dict[str, Any]:
    """One chart of a report, as a Vega-Lite specification, whichever section it is in."""
    charts = {chart: spec for section in report.sections.values() for chart, spec in section.charts.items()}
    if name not in charts:
        raise NotFound(f"the report has no chart {name!r}; it has {', '.join(charts) or 'none'}")
    return charts[name]
