"""The runs that a spec asks for, by the words that they are called by."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.init import InitSpec
from transfusion_core.specs.model import catalogue


@dataclass(frozen=True)
class Cell:
    """One run, before it is a job."""

    model: str
    init: InitSpec
    train_size: int | str
    seed: int

    @property
    def words(self) -> tuple[Any, ...]:
        """What it is called by."""
        return self.model, self.init.label, self.init.source, self.train_size, self.seed


def cells(spec: ExperimentSpec) -> list[Cell]:
    """Every run of a spec, in the spec's order, each once."""
    if spec.grids is None:
        return [*whole(spec)]
    # Small grids may lie in a product of millions, so they are not looked for among all of its runs.
    seeds: dict[tuple[Any, ...], int] = {}
    for part in spec.parts:
        for model, arm, size in _places(part):
            words = model, arm.label, arm.source, size
            seeds[words] = max(part.seeds, seeds.get(words, 0))
    found = (
        Cell(model, arm, size, seed)
        for model, arm, size in _places(spec)
        for seed in range(min(spec.seeds, seeds.get((model, arm.label, arm.source, size), 0)))
    )
    return list({cell.words: cell for cell in found}.values())


def whole(spec: ExperimentSpec) -> Iterator[Cell]:
    """Models x inits x train sizes x seeds, whatever `grids` says."""
    return (Cell(model, arm, size, seed) for model, arm, size in _places(spec) for seed in range(spec.seeds))


def whole_count(spec: ExperimentSpec) -> int:
    """How many runs that are."""
    return spec.seeds * sum(1 for _ in _places(spec))


def _places(spec: ExperimentSpec) -> Iterator[tuple[str, InitSpec, int | str]]:
    """Models, arms and train sizes, in the order of the runs."""
    for model in spec.models:
        arms = [arm for init in spec.inits for arm in init.arms(catalogue()[model].stage_names)]
        yield from product([model], arms, spec.train_sizes)
