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
    wanted = {cell.words for part in spec.parts for cell in whole(part)}
    return list({cell.words: cell for cell in whole(spec) if cell.words in wanted}.values())


def whole(spec: ExperimentSpec) -> Iterator[Cell]:
    """Models x inits x train sizes x seeds, whatever `grids` says."""
    for model in spec.models:
        arms = [arm for init in spec.inits for arm in init.arms(catalogue()[model].stage_names)]
        for init, size, seed in product(arms, spec.train_sizes, range(spec.seeds)):
            yield Cell(model, init, size, seed)
