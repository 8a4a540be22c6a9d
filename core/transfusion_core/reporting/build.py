"""The report of an experiment from its jobs' results."""

from collections.abc import Callable, Sequence
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
    sections = {name: SECTIONS[name](study) for name in study.spec.sections}
    numbers = {name: section.model_dump(mode="json", exclude={"charts"}) for name, section in sections.items()}
    made = {
        "methods": methods(study, jobs),
        "references": [reference.model_dump() for reference in used(study, [*sections.values()])],
        "spec": {"name": f"again: {study.spec.dataset}", **experiment},
    }
    created = (now or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z")
    whole = digest({"sections": numbers, **made})
    return Report.model_validate({"digest": whole, "created_at": created, "sections": sections, **made})
