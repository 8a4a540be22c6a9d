"""Kind `ingest`: from a dataset's spec to its images and annotations in the store."""

from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.data.ingest import ingest
from transfusion_core.specs.dataset import DatasetSpec
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.location import resolve


def run(context: JobContext) -> dict[str, Any]:
    """An IngestResult."""
    spec = DatasetSpec.read({"name": "dataset"} | context.spec).resolved()
    context.progress("fetch")
    source = resolve(spec.location, context) if spec.location else None

    def progress(done: int, total: int) -> None:
        faultpoint("step")
        context.progress("read", step=done, steps=total)
        if context.should_stop():
            raise JobCancelled

    with context.keeping() as keep:
        found = ingest(spec, source=source, keep=keep, progress=progress, threads=context.threads)
    return found.model_dump(mode="json")
