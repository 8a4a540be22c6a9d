"""Kind `profile`: what a dataset is like, and its charts, into the store."""

import json
from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.reporting.dataset import profile_charts, profile_rows
from transfusion_core.science.data.profile import profile
from transfusion_core.specs.dataset import IngestResult
from transfusion_core.specs.profile import ProfileJob
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.dataset import read_annotations
from transfusion_worker.jobs.pixels import pack_images


def run(context: JobContext) -> dict[str, Any]:
    """Where the DatasetProfile lies in the store (`profile`), and what is drawn of it by name (`charts`)."""
    context.progress("fetch")
    found = IngestResult.model_validate(context.need(ProfileJob.read(context.spec).dataset).result)
    annotations, images = read_annotations(context, found), pack_images(context, found)

    def progress(phase: str, step: int, steps: int) -> None:
        context.progress(phase, step=step, steps=steps)
        if context.should_stop():
            raise JobCancelled

    made = profile(annotations, images, found, threads=context.threads, progress=progress)
    charts = profile_charts(profile_rows(made))
    written = {"profile": made.model_dump_json(), "charts": json.dumps(charts, allow_nan=False)}
    return {name: _put(context, f"{name}.json", text) for name, text in written.items()}


def _put(context: JobContext, name: str, text: str) -> dict[str, Any]:
    path = context.scratch / name
    path.write_text(text)
    return context.put(path, name).model_dump()
