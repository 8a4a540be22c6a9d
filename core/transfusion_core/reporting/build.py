"""The report of an experiment from its jobs' results."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from transfusion_core.reporting.convergence import convergence
from transfusion_core.reporting.dataset import dataset
from transfusion_core.reporting.methods import methods
from transfusion_core.reporting.movement import movement
from transfusion_core.reporting.performance import performance
from transfusion_core.reporting.references import used
from transfusion_core.reporting.representation import reuse, similarity
from transfusion_core.reporting.robustness import robustness
from transfusion_core.reporting.small_data import small_data
from transfusion_core.reporting.study import Study, read_study
from transfusion_core.reporting.transfusion import transfusion
from transfusion_core.reporting.verdict import verdict
from transfusion_core.specs.keys import digest
from transfusion_core.specs.report import Report, ReportSection
from transfusion_core.specs.sections import lacking

SECTIONS: dict[str, Callable[[Study], ReportSection]] = {
    "dataset": dataset,
    "performance": performance,
    "small_data": small_data,
    "similarity": similarity,
    "movement": movement,
    "reuse": reuse,
    "convergence": convergence,
    "robustness": robustness,
    "transfusion": transfusion,
    "verdict": verdict,
}


def build(experiment: dict[str, Any], jobs: Sequence[dict[str, Any]], *, now: datetime | None = None) -> Report:
    """Every section that the experiment asked for, with what there is and what is missing.

    `experiment` is the resolved spec; `jobs` are dicts with `kind, labels, state, reason, result`, where `result` is
    the whole TrainResult or IngestResult as JSON, a ComparisonResult, or None; a run may bring its `predictions`.
    """
    study = read_study(experiment, jobs)
    lost = [*_lost(jobs)]
    sections = {
        name: _whole(SECTIONS[name](study), lacking(study.spec).get(name), lost) for name in study.spec.sections
    }
    numbers = {name: section.model_dump(mode="json", exclude={"charts"}) for name, section in sections.items()}
    made = {
        "methods": methods(study, jobs),
        "references": [reference.model_dump() for reference in used(study, [*sections.values()])],
        "spec": {"name": f"again: {study.spec.dataset}", **experiment},
    }
    created = (now or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z")
    whole = digest({"sections": numbers, **made})
    return Report.model_validate({"digest": whole, "created_at": created, "sections": sections, **made})


def _lost(jobs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What the runs themselves needed and did not get, in words."""
    for job in jobs:
        words = job["labels"]
        named = {
            "ingest": f"dataset {words.get('dataset')}",
            "pixels": f"pixels of {words.get('dataset')}",
            "source": f"source run of {words.get('model')} on {words.get('dataset')}, seed {words.get('seed')}",
        }.get(words.get("role", job["kind"]))
        if named and not job["result"]:
            yield f"{named} ({': '.join(filter(None, (job['state'], job['reason'])))})"


def _whole(section: ReportSection, lacking: str | None, lost: Sequence[str]) -> ReportSection:
    """The section with why it is not whole, the causes first."""
    missing = [*([lacking] if lacking else []), *(lost if section.missing else ()), *section.missing]
    return section.model_copy(update={"complete": not missing, "missing": missing})
