"""Kind `report`: an experiment's answer from the results of its jobs, whatever became of them."""

from typing import Any

from transfusion_core.reporting.build import build
from transfusion_core.reporting.predictions import Predictions
from transfusion_core.specs.comparison import ComparisonResult
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.profile import DatasetProfile
from transfusion_worker.assignment import Need
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.predictions import read_predictions

ERROR_LENGTH = 300
"""How much of an error a report repeats; all of it stands at the run."""


def run(context: JobContext) -> dict[str, Any]:
    """Where the Report lies in the store (`report`), its `digest`, and whether every section is `complete`."""
    needs = {need.key: need for need in context.needs}
    jobs = [_job(context, planned, needs.get(planned["key"])) for planned in context.spec["jobs"]]
    report = build(context.spec["experiment"], jobs)
    path = context.scratch / "report.json"
    path.write_text(report.model_dump_json())
    return {
        "report": context.put(path, path.name).model_dump(),
        "complete": all(section.complete for section in report.sections.values()),
        "digest": report.digest,
    }


def _job(context: JobContext, planned: dict[str, Any], need: Need | None) -> dict[str, Any]:
    job = {"kind": planned["kind"], "key": planned["key"], "labels": planned["labels"]}
    if need is None:
        return job | {"id": None, "state": "cancelled", "reason": None, "result": None}
    job |= {"id": need.id, "state": need.state, "reason": _reason(need), "result": _result(context, need)}
    return job | ({"predictions": _predictions(context, job)} if job["labels"].get("role") == "cell" else {})


def _reason(need: Need) -> str | None:
    """Why it failed, with its own words where it has some."""
    if not need.reason or not need.error or need.reason == "needs_failed":
        return need.reason
    return f"{need.reason}: {need.error.splitlines()[0][:ERROR_LENGTH]}"


def _result(context: JobContext, need: Need) -> dict[str, Any] | ComparisonResult | DatasetProfile | None:
    """The whole result, also of kinds whose results lie in the store.

    As records: thousands of comparisons as dictionaries would fill the memory.
    """
    if need.state != "succeeded" or need.result is None:
        return None
    if need.kind == "compare":
        return ComparisonResult.model_validate_json(_stored(context, need.result["report"]))
    if need.kind == "profile":
        return DatasetProfile.model_validate_json(_stored(context, need.result["profile"]))
    return need.result


def _stored(context: JobContext, pointer: dict[str, Any]) -> bytes:
    return context.store.get_bytes(StoredObject.model_validate(pointer))


def _predictions(context: JobContext, job: dict[str, Any]) -> Predictions | None:
    """Of the test images, where the run kept them."""
    stored = (job["result"] or {}).get("predictions")
    return read_predictions(context, StoredObject.model_validate(stored)) if stored else None
