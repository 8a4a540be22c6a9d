"""Checks of what source weights expect of their images, against an experiment's."""

from collections.abc import Iterable, Iterator, Mapping

from transfusion_core.specs.contract import ADAPTABLE, InputContract
from transfusion_core.specs.experiment import ExperimentSpec, SourceSpec
from transfusion_core.specs.facts import DatasetFacts, Facts
from transfusion_core.specs.fault import Fault, pointer
from transfusion_core.specs.model import ModelEntry


def contract_of(source: SourceSpec, entry: ModelEntry, facts: Facts) -> InputContract | None:
    """What is known of a source's input before any file is opened; None for runs, whose checkpoints tell."""
    if source.weights:
        return facts.weight_inputs.get(source.weights)
    if source.timm and entry.sources:
        return entry.source_inputs.get(entry.sources[0] if source.timm == "default" else source.timm)
    return None


def input_faults(
    name: str,
    source: SourceSpec,
    models: Iterable[ModelEntry],
    facts: Facts,
    *,
    image_size: int | None,
    asked: bool,
) -> Iterator[Fault]:
    """Why the source cannot be fed with the experiment's images. `asked`: they are to be normalised as it was."""
    here = pointer(["sources", name, "weights" if source.weights else "timm"])
    for entry in models:
        contract = contract_of(source, entry, facts)
        if contract is None:
            if asked and source.weights in facts.weights:
                told = "nothing is known of their input; register them with 'input', or normalise by the dataset"
                yield Fault(pointer=here, message=told, value=source.weights)
            continue
        if contract.channels not in ADAPTABLE:
            told = f"the weights expect {contract.channels} channels, images have 1 or 3"
            yield Fault(pointer=here, message=told, value=contract.channels, allowed=list(ADAPTABLE))
        if image_size and contract.min_size and image_size < contract.min_size:
            yield Fault(
                pointer="/image_size",
                message=f"source {name!r} needs images of {contract.min_size} px or more",
                value=image_size,
                allowed=[f">= {contract.min_size}"],
                nearest=str(contract.min_size),
            )


def input_warnings(
    spec: ExperimentSpec, sources: Mapping[str, SourceSpec], models: Iterable[ModelEntry], facts: Facts
) -> list[str]:
    """What of the images is not as the `sources` learnt it: their size, their colour, and how large they really are.

    `spec` and `sources` are resolved: they name versions.
    """
    versions = {each.name: each for each in facts.datasets.values()}
    dataset = versions[spec.dataset]
    found: dict[str, None] = {}
    for entry in models:
        for name, source in sources.items():
            size, channels = _learnt(source, entry, facts, versions)
            if size not in (None, spec.image_size):
                told = f"source {name} of {entry.name} was learnt at {size} px, images are {spec.image_size} px"
                found[told] = None
            if channels is not None and dataset.channels not in (None, channels):
                found[f"source {name} of {entry.name} was learnt on {_COLOUR[channels]}, {_MET[channels]}"] = None
    return [*found, *_enlarged(dataset, spec.image_size)]


_COLOUR = {1: "grey images", 3: "images of three channels"}
_MET = {
    1: "those of the dataset have colour: each channel enters with a third of the weights",
    3: "those of the dataset are grey: they are repeated in each",
}


def _learnt(
    source: SourceSpec, entry: ModelEntry, facts: Facts, versions: Mapping[str, DatasetFacts]
) -> tuple[int | None, int | None]:
    """The side of the images that a source saw, in pixels, and their channels, as far as they are known."""
    if source.run:
        return facts.runs[source.run.partition("@")[0]].image_size, None
    if source.pretrain:
        return None, versions[source.pretrain.dataset].channels
    contract = contract_of(source, entry, facts)
    return (contract.size, contract.channels) if contract else (None, None)


def _enlarged(dataset: DatasetFacts, image_size: int) -> Iterator[str]:
    """How many images have fewer pixels than networks are given, as far as their resolutions were counted."""
    sides = [(min(map(int, each.split("x"))), count) for each, count in dataset.resolutions.items()]
    if small := sum(count for side, count in sides if side < image_size):
        of = f"{small} of {sum(count for _, count in sides)} images of {dataset.name}"
        yield f"{of} are enlarged to {image_size} px: their shorter sides are {min(sides)[0]} px or more"
