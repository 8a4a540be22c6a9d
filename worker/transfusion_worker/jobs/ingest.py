"""Kind `ingest`: from a dataset's spec to its images and annotations in the store."""

from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.faultpoints import faultpoint
from transfusion_core.science.data.extending import Parent
from transfusion_core.science.data.ingest import ingest
from transfusion_core.specs.dataset import DatasetSpec, IngestResult
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.dataset import read_annotations
from transfusion_worker.jobs.location import resolve
from transfusion_worker.jobs.pixels import pack_images


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

    parent = _parent(context)
    with context.keeping() as keep:
        found = ingest(spec, source=source, keep=keep, parent=parent, progress=progress, threads=context.threads)
    return found.model_dump(mode="json")


def _parent(context: JobContext) -> Parent | None:
    """The version that is extended."""
    key = context.spec.get("parent")
    if key is None:
        return None
    found = IngestResult.model_validate(context.need(key).result)
    manifest = context.store.get_bytes(found.manifest)
    images = pack_images(context, found)
    return Parent.read(read_annotations(context, found), manifest, images, bytes.fromhex(found.salt))
