"""Reports and similarity reports as they are stored: read by digest, never computed here."""

import json
import re
from typing import Any

from transfusion_api.service import Service
from transfusion_core.db import experiments
from transfusion_core.db.clock import rfc3339
from transfusion_core.db.records import JobRow
from transfusion_core.errors import NotFound, NotReady
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.report import Report, ReportSection, ReportVersion

DIGEST = re.compile("[0-9a-f]{64}")


def stored_json(service: Service, pointer: dict[str, Any]) -> dict[str, Any]:
    """The JSON object that a job's result points at, its digest checked."""
    content: dict[str, Any] = json.loads(service.store.get_bytes(StoredObject.model_validate(pointer)))
    return content


def report_of(service: Service, experiment_id: str) -> Report:
    """The report of an experiment; NotReady until its job has succeeded."""
    job = experiments.report_job(service.engine, experiment_id)
    if job.state != "succeeded" or job.result is None:
        raise NotReady(f"the report of experiment {experiment_id} is {job.state}; it is made when the runs have ended")
    return _written(service, job, experiment_id)


def _written(service: Service, job: JobRow, experiment_id: str) -> Report:
    assert job.result is not None
    content = stored_json(service, job.result["report"])
    return Report.model_validate({**content, "experiment": experiment_id})


def versions_of(service: Service, experiment_id: str) -> list[ReportVersion]:
    """What an experiment has answered so far, the newest first."""
    return [
        ReportVersion(digest=job.result["digest"], is_complete=job.result["complete"], made_at=rfc3339(job.finished_at))
        for job in _jobs(service, experiment_id)
        if job.result and job.finished_at
    ]


def _jobs(service: Service, experiment_id: str) -> list[JobRow]:
    """The jobs that have written its reports, the newest first."""
    newest = experiments.report_job(service.engine, experiment_id)
    earlier = experiments.earlier_reports(service.engine, experiment_id)
    return [*([newest] if newest.state == "succeeded" else []), *earlier]


def version_of(service: Service, experiment_id: str, digest: str) -> Report:
    """One of the reports of an experiment, by its digest; NotFound names those that there are."""
    found = {job.result["digest"]: job for job in _jobs(service, experiment_id) if job.result}
    if digest not in found:
        raise NotFound(f"experiment {experiment_id} has no report {digest!r}; it has {', '.join(found) or 'none'}")
    return _written(service, found[digest], experiment_id)


def other_of(service: Service, experiment_id: str, against: str) -> Report:
    """What a report is held against: the digest of an earlier one of the same experiment, or another experiment."""
    if DIGEST.fullmatch(against):
        return version_of(service, experiment_id, against)
    return report_of(service, against)


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
