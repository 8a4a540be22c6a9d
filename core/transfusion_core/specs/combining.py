"""Several experiments on one dataset read as one: the union of their runs, trained and compared alike."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import Field, ValidationError

from transfusion_core.specs.base import Spec
from transfusion_core.specs.check import check
from transfusion_core.specs.comparison import SimilaritySpec
from transfusion_core.specs.expand import resolve
from transfusion_core.specs.experiment import ExperimentSpec, Grid, Section, largest
from transfusion_core.specs.facts import Facts
from transfusion_core.specs.fault import Fault, faults_of, pointer
from transfusion_core.specs.grid import cells, whole_count
from transfusion_core.specs.rates import RateGrid

ALIKE = ("dataset", "image_size", "training", "similarity")
"""Fields in which runs must agree to stand in one table."""
MAX_EXPERIMENTS = 20


class CombineSpec(Spec):
    """Experiments on the same dataset, to be reported as one."""

    experiments: list[str] = Field(min_length=2, max_length=MAX_EXPERIMENTS)
    """Their ids."""
    name: str | None = Field(default=None, min_length=1, max_length=200)
    """Of the experiment that this makes; the names of all unless given."""
    sections: list[Section] | None = Field(default=None, min_length=1)
    """Of its report; those of all unless given."""
    similarity: SimilaritySpec | None = None
    """How networks are compared, where the experiments do not agree on it."""
    priority: int = Field(default=0, ge=-100, le=100)


def named_in(body: Any) -> dict[int, str]:
    """The ids in a body that is meant to be a CombineSpec, by their place in it."""
    ids = body.get("experiments") if isinstance(body, dict) else None
    return {
        place: each
        for place, each in enumerate((ids if isinstance(ids, list) else [])[:MAX_EXPERIMENTS])
        if isinstance(each, str)
    }


def combined(asked: CombineSpec, specs: Sequence[ExperimentSpec]) -> ExperimentSpec:
    """The spec whose runs are those of all; `specs` are resolved and have no `combine_faults`."""
    sections = {section for spec in specs for section in spec.sections}
    union = specs[0].model_copy(
        update={
            "name": asked.name or " and ".join(dict.fromkeys(spec.name for spec in specs))[:200],
            "models": _union(spec.models for spec in specs),
            "sources": {name: source for spec in specs for name, source in spec.sources.items()},
            "inits": _union(spec.inits for spec in specs),
            "train_sizes": _union(spec.train_sizes for spec in specs),
            "seeds": max(spec.seeds for spec in specs),
            "sections": asked.sections or [section for section in get_args(Section) if section in sections],
            "similarity": asked.similarity or specs[0].similarity,
            "cache": "use",
            "priority": asked.priority,
            "grids": _union(map(_grids, specs)),
        }
    )
    is_product = len(cells(union)) == whole_count(union)
    return union.model_copy(update={"grids": None}) if is_product else union


def _grids(spec: ExperimentSpec) -> list[Grid]:
    return [Grid(**{axis: getattr(part, axis) for axis in Grid.model_fields}) for part in spec.parts]


def _union(lists: Iterable[Sequence[Any]]) -> list[Any]:
    found: list[Any] = []
    for items in lists:
        found += [item for item in items if item not in found]
    return found


def read(body: Any, stored: Mapping[str, Any], facts: Mapping[str, Facts]) -> tuple[list[ExperimentSpec], list[Fault]]:
    """The experiments that a body names, resolved, and every reason why they cannot be read as one.

    `stored` are the specs of those that exist, by id, and `facts` what their names stand for.
    """
    faults: list[Fault] = []
    try:
        CombineSpec.model_validate(body)
    except ValidationError as error:
        faults = faults_of(error, CombineSpec)
    alike = [field for field in ALIKE if body.get(field) is None] if isinstance(body, dict) else ALIKE
    specs: dict[str, ExperimentSpec] = {}
    for place, name in named_in(body).items():
        why = ["is there twice"] if name in specs else [*_broken(name, stored, facts)]
        if not why:
            spec, _ = resolve(ExperimentSpec.model_validate(stored[name]), facts[name])
            why = [*_unlike(specs, spec, alike)]
            specs[name] = spec
        faults += [Fault(pointer=pointer(["experiments", place]), message=each, value=name) for each in why]
    return list(specs.values()), faults


def _broken(name: str, stored: Mapping[str, Any], facts: Mapping[str, Facts]) -> Iterator[str]:
    """Why an experiment cannot be read with any other."""
    if name not in stored:
        yield f"there is no experiment {name!r}"
        return
    yield from (f"its spec does not hold any more: {fault}" for fault in check(stored[name], facts[name]))
    if stored[name].get("cache") == "off":
        yield "its runs are its own and cannot be shared: expected cache 'use' or 'refresh', got 'off'"


def _unlike(earlier: Mapping[str, ExperimentSpec], spec: ExperimentSpec, alike: Sequence[str]) -> Iterator[str]:
    """In what an experiment differs from those before it and must not, with both values."""
    for place, (name, other) in enumerate(earlier.items()):
        differences = [*([] if place else _done_otherwise(other, spec, alike)), *_named_otherwise(other, spec)]
        yield from (f"differs from experiment {name} in {difference}" for difference in differences)


def _done_otherwise(a: ExperimentSpec, b: ExperimentSpec, alike: Sequence[str]) -> Iterator[str]:
    ours, theirs = a.model_dump(mode="json"), b.model_dump(mode="json")
    for field in alike:
        yield from _differences(f"/{field}", ours[field], theirs[field])
    sizes = [largest(spec.train_sizes) for spec in (a, b)]
    if isinstance(a.training.lr, RateGrid) and sizes[0] != sizes[1]:
        yield f"/train_sizes, at whose largest learning rates are tried: expected {sizes[0]}, got {sizes[1]}"


def _named_otherwise(a: ExperimentSpec, b: ExperimentSpec) -> Iterator[str]:
    """Where one name stands for two things, or two names for one: a table could not tell which is which."""
    names = {source.model_dump_json(): name for name, source in a.sources.items()}
    for name, source in b.sources.items():
        if name in a.sources:
            ours = a.sources[name].model_dump(mode="json", exclude_none=True)
            yield from _differences(f"/sources/{name}", ours, source.model_dump(mode="json", exclude_none=True))
        elif known := names.get(source.model_dump_json()):
            yield f"/sources/{name}: expected it under the name {known!r}, got {name!r}"
    inits = {(init.label, init.source): init.model_dump(mode="json") for init in a.inits}
    for init in b.inits:
        theirs = init.model_dump(mode="json")
        yield from _differences(f"init {init.label}", inits.get((init.label, init.source), theirs), theirs)


def _differences(place: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in dict.fromkeys([*ours, *theirs]):
            yield from _differences(f"{place}/{name}", ours.get(name), theirs.get(name))
    elif ours != theirs:
        yield f"{place}: expected {ours!r}, got {theirs!r}"
