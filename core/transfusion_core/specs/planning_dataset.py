"""The jobs of the section `dataset`: a look at the images, and whether networks need more of them than texture."""

from collections.abc import Sequence

from transfusion_core.specs.experiment import ExperimentSpec, largest
from transfusion_core.specs.job import JobDraft
from transfusion_core.specs.planning_robustness import probe_job
from transfusion_core.specs.profile import profile_draft


def dataset_jobs(spec: ExperimentSpec, cells: Sequence[JobDraft], ingest: JobDraft) -> list[JobDraft]:
    """The profile, and probes that shuffle blocks: of each model's first init at its largest train size.

    The section `robustness` probes every cell, blocks included; then no other probes are made.
    """
    if "dataset" not in spec.sections:
        return []
    plain = [] if "robustness" in spec.sections else [cell for model in spec.models for cell in _plain(cells, model)]
    return [profile_draft(ingest.key), *(probe_job(spec, cell, ingest, stages=False) for cell in plain)]


def _plain(cells: Sequence[JobDraft], model: str) -> list[JobDraft]:
    ours = [cell for cell in cells if cell.labels["model"] == model]
    most = largest(cell.labels["train_size"] for cell in ours)
    ours = [cell for cell in ours if cell.labels["train_size"] == most]
    return [cell for cell in ours if all(cell.labels[word] == ours[0].labels[word] for word in ("init", "source"))]
