"""Kind `ingest`: from a dataset's spec to its pack in the store."""

from typing import Any

from transfusion_core.errors import JobCancelled
from transfusion_core.science.data.extending import Parent
from transfusion_core.science.data.ingest import ingest
from transfusion_core.specs.dataset import DatasetSpec, IngestResult
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.location import resolve


def run(context: JobContext) -> dict[str, Any]:
    """An IngestResult."""
    spec = DatasetSpec.read({"name": "dataset"} | context.spec).resolved()
    context.progress("fetch")
    source = resolve(spec.location, context) if spec.location else None
    out, manifest = context.scratch / "pack.safetensors", context.scratch / "manifest.csv"

    def progress(done: int, total: int) -> None:
        context.progress("read", step=done, steps=total)
        if context.should_stop():
            raise JobCancelled

    found = ingest(
        spec,
        source=source,
        out=out,
        manifest=manifest,
        parent=_parent(context),
        progress=progress,
        threads=context.threads,
    )
    context.progress("store")
    stored = {name: context.put(path, path.name) for name, path in (("pack", out), ("manifest", manifest))}
    words = {name: value for name, value in vars(found).items() if name != "faults"}
    faults = [fault.model_dump(mode="json") for fault in found.faults]
    return IngestResult.model_validate(words | {"faults": faults, **stored}).model_dump(mode="json")


def _parent(context: JobContext) -> Parent | None:
    """The version that is extended."""
    key = context.spec.get("parent")
    if key is None:
        return None
    found = IngestResult.model_validate(context.need(key).result)
    return Parent.read(context.fetch(found.pack), context.fetch(found.manifest), bytes.fromhex(found.salt))
