"""Kind `compare`: one similarity measurement between two checkpoints, on the probe images.

Where jobs of kind `moments` have summed over parts of them, their sums are merged and no image is looked at again.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, TypeAlias

from torch import Tensor, nn

from transfusion_core.science.movement import filter_correlations, weight_movement
from transfusion_core.science.similarity import PairResult as Measured
from transfusion_core.science.training.memory import memory_errors
from transfusion_core.specs.comparison import Between, ComparisonResult, PairResult, ProbeSet, WeightMovement
from transfusion_core.specs.job import CompareJob
from transfusion_core.store.files import whole
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.checkpoints import LoadedCheckpoint
from transfusion_worker.jobs.compared import Compared, read
from transfusion_worker.jobs.filters import filters_of, picture
from transfusion_worker.jobs.moments import merged, merged_untrained

Place: TypeAlias = tuple[str, str, str]
"""Layer of a, layer of b, measure."""


def run(context: JobContext) -> dict[str, Any]:
    """Where the ComparisonResult lies in the store (`report`), its `probe_set`, and how much it says (`summary`)."""
    result = measure(read(context, CompareJob.read(context.spec)))
    path = context.scratch / "similarity-report.json"
    path.write_text(result.model_dump_json())
    stored = context.put(path, path.name)
    summary = {"results": len(result.results), "weights": len(result.weights), "filters": len(result.filters)}
    return {"report": stored.model_dump(), "probe_set": result.probe_set.model_dump(), "summary": summary}


def measure(compared: Compared) -> ComparisonResult:
    """All that a comparison says."""
    job, sides, model = compared.job, compared.sides, compared.networks[0].model
    with memory_errors(f"comparing on {len(compared.images)} images"):
        collected = merged(compared) or compared.collect()
        found, *passed = compared.comparisons.evaluate(collected, job.measures, variance=job.variance)
        floor = _untrained(compared) if job.nulls else {}
    filters = _filters(model, sides[:2])
    return ComparisonResult(
        probe_set=ProbeSet(digest=compared.probe_set, images=len(compared.images)),
        layers_a=compared.layers_a,
        layers_b=compared.layers_b,
        results=[_recorded(result, floor, job) for result in found],
        weights=_movement(model, sides[:2]),
        filters=filter_correlations(*filters) if filters else [],
        filter_pictures=[picture(each) for each in filters],
        between=[
            Between(
                step=side.about.step,
                results=[_recorded(result, floor, job) for result in results],
                weights=_movement(model, (sides[0], side)),
            )
            for side, results in zip(sides[2:], passed, strict=True)
        ],
    )


def _recorded(result: Measured, floor: dict[Place, float | None], job: CompareJob) -> PairResult:
    place = (result.layer_a, result.layer_b, result.measure)
    found = result.correlations if job.spectra else None
    told = None if found is None else [round(value, 6) for value in found.tolist()]
    return PairResult(**{**asdict(result), "correlations": told}, null_untrained=floor.get(place))


def _untrained(compared: Compared) -> dict[Place, float | None]:
    """The same comparison between two fresh random networks: worked out once for all comparisons of these models."""
    kept = compared.kept_untrained(".json")
    with suppress(FileNotFoundError):
        told = kept.read_text()
        os.utime(kept)  # its last use
        return {(a, b, name): value for a, b, name, value in json.loads(told)}
    job = compared.job
    collected = merged_untrained(compared) or compared.collect_untrained()
    (found,) = compared.untrained.evaluate(collected, job.measures, variance=job.variance)
    rows = [(result.layer_a, result.layer_b, result.measure, result.value) for result in found]
    with whole(kept) as path:
        path.write_text(json.dumps(rows))
    return {(a, b, name): value for a, b, name, value in rows}


def _same_network(sides: Sequence[LoadedCheckpoint]) -> bool:
    shapes = [{name: tensor.shape for name, tensor in side.weights.items()} for side in sides]
    return shapes[0] == shapes[1]


def _movement(model: nn.Module, sides: Sequence[LoadedCheckpoint]) -> list[WeightMovement]:
    """From the weights of `a` to those of `b`, input to output; empty where they are not of one network."""
    if not _same_network(sides):
        return []
    before, after = ({name: side.weights[name] for name in model.state_dict()} for side in sides)
    moved = weight_movement(before, after)
    return [
        WeightMovement(
            layer=_name(one.layer, one.tensor), relative_l2=one.relative_l2, cosine=one.cosine, reason=one.reason
        )
        for one in moved
    ]


def _name(layer: str, tensor: str) -> str:
    """A layer's weight goes by the layer's name, anything else by its own."""
    return layer if layer and tensor == "weight" else f"{layer}.{tensor}".lstrip(".")


def _filters(model: nn.Module, sides: Sequence[LoadedCheckpoint]) -> list[Tensor]:
    """The first convolution's filters of both sides; none where there are none, or none that could be paired."""
    found = [filters for side in sides if (filters := filters_of(model, side.weights)) is not None]
    return found if len(found) == 2 and found[0].shape == found[1].shape else []
