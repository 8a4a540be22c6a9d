"""Kind `profile`: what a dataset is like, into the store."""

from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.science.data.profile import profile
from transfusion_core.specs.dataset import IngestResult
from transfusion_core.specs.profile import ProfileJob
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.dataset import read_annotations
from transfusion_worker.jobs.pixels import pack_images


def run(context: JobContext) -> dict[str, Any]:
    """Where the DatasetProfile lies in the store (`profile`)."""
    context.progress("fetch")
    found = IngestResult.model_validate(context.need(ProfileJob.read(context.spec).dataset).result)
    annotations, images = read_annotations(context, found), pack_images(context, found)

    def progress(phase: str, step: int, steps: int) -> None:
        context.progress(phase, step=step, steps=steps)
        if context.should_stop():
            raise JobCancelled

    path = context.scratch / "profile.json"
    made = profile(annotations, images, found, threads=context.threads, progress=progress)
    path.write_text(made.model_dump_json())
    return {"profile": context.put(path, path.name).model_dump()}
