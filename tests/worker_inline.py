"""Whole experiments done by the real job functions in this process, one job after the other."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import DatasetFacts, Facts, foretold_splits, ingest_draft
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.report import Report
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.context import JobContext
from transfusion_worker.jobs import KINDS


def report_of(body: dict[str, Any], folder: Path, *, datasets: Sequence[DatasetSpec]) -> Report:
    """The report of an experiment on these datasets; a job that fails raises."""
    facts = {spec.name: _facts(spec) for spec in datasets}
    spec = ExperimentSpec.model_validate({"name": "inline", **body})
    settings = Settings(store_url=f"file://{folder}/store", cache_dir=folder / "cache", device="cpu")
    (folder / "scratch").mkdir(exist_ok=True)
    done: dict[str, Need] = {}
    for draft in expand(spec, Facts(datasets=facts, dataset_names=tuple(facts))).drafts:
        context = _context(draft, [done[key] for key in draft.needs], folder, settings)
        result = KINDS[draft.kind](context)
        done[draft.key] = Need(
            id=draft.key, key=draft.key, kind=draft.kind, state="succeeded", spec=draft.spec, result=result
        )
    stored = StoredObject.model_validate(result["report"])
    return Report.model_validate_json(open_store(settings).get_bytes(stored))


def _facts(spec: DatasetSpec) -> DatasetFacts:
    return DatasetFacts(
        name=spec.name, spec=spec, ingest=ingest_draft(spec), registered=False, splits=foretold_splits(spec)
    )


def _context(draft: JobDraft, needs: list[Need], folder: Path, settings: Settings) -> JobContext:
    assignment = Assignment(
        job_id=draft.key, attempt=1, kind=draft.kind, spec=draft.spec, needs=needs, settings=open_settings(settings),
        scratch=str(folder / "scratch"), device="cpu", threads=1,
    )  # fmt: skip
    return JobContext(
        assignment, settings=settings, store=open_store(settings), tell=lambda told: None, stop=threading.Event()
    )
