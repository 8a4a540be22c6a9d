"""Kind `moments`: the sums that a comparison is worked out from, over a part of its images; and how parts are merged.

A part is whole shards of the images, so that values, nulls and intervals are those of one job to rounding. Its sums are
safetensors files in the store: of the networks that are compared, and of untrained ones where these are asked for.
"""

from collections.abc import Callable
from typing import Any

from transfusion_core.errors import DataError, StoreError
from transfusion_core.science.similarity import Collected, Part, load_collected, save_collected
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.job import MomentsJob
from transfusion_core.store.files import whole
from transfusion_worker.assignment import Need
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.compared import Compared, read
from transfusion_worker.jobs.environment import device_of

_EVALUATED = frozenset({"measures", "variance"})
"""Fields of a comparison that its sums do not depend on."""


def run(context: JobContext) -> dict[str, Any]:
    """Where the sums lie in the store (`trained`; `untrained`, if asked for), and the digest of the `probe_set`."""
    job = MomentsJob.read(context.spec)
    compared, part = read(context, job), Part(job.part, job.of)
    with memory_errors(f"summing over part {job.part + 1} of {job.of} of {len(compared.images)} images"):
        result = {"probe_set": compared.probe_set, "trained": _stored(context, compared.collect(part), "trained")}
        if job.nulls:
            result["untrained"] = _stored(context, _untrained(compared, part), "untrained")
    return result


def merged(compared: Compared) -> Collected | None:
    """The sums over all images of a comparison whose parts were done before it; None where it has no parts."""
    return _merged(compared, "trained", compared.collect)


def merged_untrained(compared: Compared) -> Collected | None:
    """The same of the untrained networks."""
    return _merged(compared, "untrained", compared.collect_untrained)


def _untrained(compared: Compared, part: Part) -> Collected:
    """Worked out once for all comparisons of these models."""
    kept = compared.kept_untrained(".safetensors", without=_EVALUATED)
    try:
        found = load_collected(kept)
        kept.touch()  # its last use
    except (FileNotFoundError, DataError):
        found = compared.collect_untrained(part)
        with whole(kept) as path:
            save_collected(found, path)
    return found


def _stored(context: JobContext, collected: Collected, name: str) -> dict[str, Any]:
    path = context.scratch / f"{name}.safetensors"
    save_collected(collected, path)
    stored = context.put(path, path.name)
    path.unlink()
    return stored.model_dump()


def _merged(compared: Compared, name: str, collect: Callable[[Part], Collected]) -> Collected | None:
    context = compared.context
    parts = sorted((need for need in context.needs if need.kind == "moments"), key=lambda need: need.spec["part"])
    together: Collected | None = None
    for step, need in enumerate(parts, start=1):
        found = _found(compared, need, name) or _summed_again(context, need, name, collect)
        together = found if together is None else together.merge(found)
        context.progress("merge", step=step, steps=len(parts))
    return together and together.to(device_of(context))


def _found(compared: Compared, need: Need, name: str) -> Collected | None:
    """What a part left; None where that is lost, damaged or of other images, which the log tells."""
    context, path = compared.context, compared.context.scratch / f"{name}-{need.id}.safetensors"
    told = need.result or {}
    try:
        if told["probe_set"] != compared.probe_set:
            raise DataError(f"expected sums over the probe set {compared.probe_set}, got {told['probe_set']}")
        context.store.get_file(StoredObject.model_validate(told[name]), path)
        return load_collected(path)
    except (StoreError, DataError) as error:
        context.log(f"part {need.spec['part'] + 1} of {need.spec['of']} is summed again: {error}")
        return None
    finally:
        path.unlink(missing_ok=True)


def _summed_again(context: JobContext, need: Need, name: str, collect: Callable[[Part], Collected]) -> Collected:
    """What a part would have left: by way of a file, as it would have come."""
    path = context.scratch / f"{name}-{need.id}.safetensors"
    save_collected(collect(Part(need.spec["part"], need.spec["of"])), path)
    found = load_collected(path)
    path.unlink()
    return found
