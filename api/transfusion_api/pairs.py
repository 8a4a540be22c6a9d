"""What a comparison's names stand for, checked: runs, checkpoints, layers and the dataset of the probe images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transfusion_core.db.facts import facts_for, run_facts
from transfusion_core.db.scope import Scope
from transfusion_core.errors import InvalidRequest, NotFound
from transfusion_core.specs.check import parts_fault
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.facts import Facts, RunFacts
from transfusion_core.specs.fault import Fault, nearest
from transfusion_core.specs.model import catalogue


@dataclass(frozen=True)
class Pair:
    """Two runs and the key of the ingest whose test split gives the probe images."""

    a: RunFacts
    b: RunFacts
    dataset: str


def pair_of(scope: Scope, spec: ComparisonSpec) -> Pair:
    """The runs and the dataset that a comparison names; InvalidRequest has every fault."""
    a, b = (_run(scope, spec.a), _run(scope, spec.b))
    facts = facts_for(scope, {"dataset": spec.dataset}) if spec.dataset else Facts()
    faults = [
        *_checkpoint_faults("/a", spec.a, a),
        *_checkpoint_faults("/b", spec.b, b),
        *_dataset_faults(spec, facts),
    ]
    if a and b:
        faults += [*_layer_faults(spec, a, b), *_probe_faults(spec, a, b, facts)]
    if faults:
        raise InvalidRequest(faults=faults)
    assert a is not None
    assert b is not None
    return Pair(a, b, facts.datasets[spec.dataset].ingest.key if spec.dataset else a.dataset)


def _run(scope: Scope, checkpoint: str) -> RunFacts | None:
    try:
        return run_facts(scope, checkpoint.partition("@")[0])
    except NotFound:
        return None


def _checkpoint_faults(place: str, written: str, run: RunFacts | None) -> Iterator[Fault]:
    run_id, _, step = written.partition("@")
    if run is None:
        yield Fault(pointer=place, message=f"there is no run {run_id!r}", value=written)
    elif run.steps is not None and step not in run.steps:
        allowed = [f"{run_id}@{name}" for name in sorted(run.steps)]
        message = f"run {run_id} has no checkpoint {step!r}"
        yield Fault(pointer=place, message=message, value=written, allowed=allowed, nearest=nearest(written, allowed))


def _dataset_faults(spec: ComparisonSpec, facts: Facts) -> Iterator[Fault]:
    if spec.dataset and spec.dataset not in facts.datasets:
        yield Fault(
            pointer="/dataset",
            message=f"there is no dataset {spec.dataset!r}",
            value=spec.dataset,
            allowed=list(facts.dataset_names),
            nearest=nearest(spec.dataset, facts.dataset_names),
        )


def _layer_faults(spec: ComparisonSpec, a: RunFacts, b: RunFacts) -> Iterator[Fault]:
    if not isinstance(spec.pairs, str):
        for place, pair in enumerate(spec.pairs):
            for side, run in enumerate((a, b)):
                yield from _unknown(pair[side], [run], f"/pairs/{place}/{side}")
        return
    if spec.layers_b is None and spec.layers != "stages":
        yield from _named_faults(spec.layers, [a, b], "/layers")
        return
    asked = spec.layers, spec.layers if spec.layers_b is None else spec.layers_b
    for names, run, where in zip(asked, (a, b), ("/layers", "/layers_b"), strict=True):
        if names != "stages":
            yield from _named_faults(names, [run], where)
    counts = [
        len(catalogue()[run.model].stages if names == "stages" else names)
        for names, run in zip(asked, (a, b), strict=True)
    ]
    if spec.pairs == "diagonal" and counts[0] != counts[1]:
        told = [
            f"{run.model} {count} {'stages' if names == 'stages' else 'layers'}"
            for run, count, names in zip((a, b), counts, asked, strict=True)
        ]
        message = f"of {told[0]} and of {told[1]} are compared: compare all pairs, or name as many layers of each"
        yield Fault(pointer="/pairs", message=message, value=spec.pairs, allowed=["all"], nearest="all")


def _named_faults(layers: Sequence[str], runs: Sequence[RunFacts], where: str) -> Iterator[Fault]:
    if not layers:
        yield Fault(pointer=where, message="expected one layer or more, or 'stages'", value=layers)
    for place, layer in enumerate(layers):
        yield from _unknown(layer, runs, f"{where}/{place}")


def _unknown(layer: str, runs: Sequence[RunFacts], where: str) -> Iterator[Fault]:
    for model in dict.fromkeys(run.model for run in runs):
        known = catalogue()[model].layer_names
        if layer not in known:
            message = f"{model} has no layer {layer[:200]!r}"
            yield Fault(pointer=where, message=message, value=layer[:200], allowed=known, nearest=nearest(layer, known))


def _probe_faults(spec: ComparisonSpec, a: RunFacts, b: RunFacts, facts: Facts) -> Iterator[Fault]:
    if a.image_size < catalogue()[b.model].min_image_size:
        message = f"{b.model} needs larger images than the {a.image_size} px of run a"
        yield Fault(pointer="/b", message=message, value=spec.b)
    splits = facts.datasets[spec.dataset].splits if spec.dataset in facts.datasets else None
    if splits and (spec.images or 0) > splits["test"]:
        message = f"the test split has {splits['test']} images"
        yield Fault(pointer="/images", message=message, value=spec.images, allowed=[f"1 .. {splits['test']}"])
    fault = parts_fault(spec, splits, "/parts")
    yield from [fault] if fault else []
