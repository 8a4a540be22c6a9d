"""Checks of what source weights expect of their images, against an experiment's."""

from collections.abc import Iterable, Iterator, Mapping

from transfusion_core.specs.contract import ADAPTABLE, InputContract
from transfusion_core.specs.experiment import SourceSpec
from transfusion_core.specs.facts import Facts
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


def size_warnings(
    sources: Mapping[str, SourceSpec], models: Iterable[ModelEntry], facts: Facts, *, image_size: int
) -> list[str]:
    """Sources that were learnt at another image size."""
    found: dict[str, None] = {}
    for entry in models:
        for name, source in sources.items():
            if source.run:
                learnt: int | None = facts.runs[source.run.partition("@")[0]].image_size
            else:
                contract = contract_of(source, entry, facts)
                learnt = contract.size if contract else None
            if learnt not in (None, image_size):
                found[f"source {name} of {entry.name} was learnt at {learnt} px, images are {image_size} px"] = None
    return list(found)
