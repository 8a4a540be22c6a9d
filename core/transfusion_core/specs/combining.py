"""Several experiments on one dataset read as one: the union of their runs, trained and compared alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import Field

from transfusion_core.specs.base import Spec
from transfusion_core.specs.comparison import SimilaritySpec
from transfusion_core.specs.experiment import ExperimentSpec, Section, largest
from transfusion_core.specs.fault import Fault, pointer
from transfusion_core.specs.rates import RateGrid

ALIKE = ("dataset", "image_size", "training", "similarity")
"""Fields in which runs must agree to stand in one table."""


class CombineSpec(Spec):
    """Experiments on the same dataset, to be reported as one."""

    experiments: list[str] = Field(min_length=2, max_length=20)
    """Their ids."""
    name: str | None = Field(default=None, min_length=1, max_length=200)
    """Of the experiment that this makes; the names of all unless given."""
    sections: list[Section] | None = Field(default=None, min_length=1)
    """Of its report; those of all unless given."""
    similarity: SimilaritySpec | None = None
    """How networks are compared, where the experiments do not agree on it."""


def combined(asked: CombineSpec, specs: Mapping[str, ExperimentSpec]) -> dict[str, Any]:
    """The body of an experiment whose grid holds those of all; `specs` are by id, free of `combine_faults`."""
    every = list(specs.values())
    sections = {section for spec in every for section in spec.sections}
    body: dict[str, Any] = every[0].model_dump(mode="json") | {
        "name": asked.name or " and ".join(dict.fromkeys(spec.name for spec in every))[:200],
        "models": _union(spec.models for spec in every),
        "inits": _union([init.model_dump(mode="json") for init in spec.inits] for spec in every),
        "train_sizes": _union(spec.train_sizes for spec in every),
        "seeds": max(spec.seeds for spec in every),
        "sections": asked.sections or [section for section in get_args(Section) if section in sections],
        "sources": {name: source.model_dump(mode="json") for spec in every for name, source in spec.sources.items()},
        "cache": "use",
    }
    return body | ({"similarity": asked.similarity.model_dump(mode="json")} if asked.similarity else {})


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for items in lists:
        found += [item for item in items if item not in found]
    return found


def combine_faults(asked: CombineSpec, specs: Mapping[str, ExperimentSpec]) -> Iterator[Fault]:
    """Why experiments cannot be read as one; `specs` has those that exist."""
    for place, name in enumerate(asked.experiments):
        here = pointer(["experiments", place])
        if name not in specs:
            yield Fault(pointer=here, message=f"there is no experiment {name!r}", value=name)
        elif name in asked.experiments[:place]:
            yield Fault(pointer=here, message="is there twice", value=name)
        else:
            first = next(each for each in asked.experiments if each in specs)
            for why in _unlike(specs[first], specs[name], settled=asked.similarity is not None):
                yield Fault(pointer=here, message=f"differs from experiment {first} in {why}", value=name)


def _unlike(a: ExperimentSpec, b: ExperimentSpec, *, settled: bool) -> Iterator[str]:
    """In what two experiments differ that must be alike, with both values."""
    ours, theirs = a.model_dump(mode="json"), b.model_dump(mode="json")
    for field in ALIKE:
        if field != "similarity" or not settled:
            yield from _differences(field, ours[field], theirs[field])
    for name in a.sources.keys() & b.sources.keys():
        yield from _differences(f"sources/{name}", ours["sources"][name], theirs["sources"][name])
    inits = {(init.label, init.source): init for init in a.inits}
    for init in b.inits:
        same = inits.get((init.label, init.source), init)
        yield from _differences(f"init {init.label}", same.model_dump(mode="json"), init.model_dump(mode="json"))
    sizes = [largest(spec.train_sizes) for spec in (a, b)]
    if isinstance(a.training.lr, RateGrid) and sizes[0] != sizes[1]:
        yield f"the largest of train_sizes, at which learning rates are tried: expected {sizes[0]}, got {sizes[1]}"


def _differences(place: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys([*ours, *theirs]):
            yield from _differences(f"{place}/{name}", ours.get(name), theirs.get(name))
    elif ours != theirs:
        yield f"{place}: expected {ours!r}, got {theirs!r}"
