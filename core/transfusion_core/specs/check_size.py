"""How much an experiment asks for, reckoned before any of it is made: a body of a line can ask for millions of runs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from transfusion_core.specs.fault import Fault
from transfusion_core.specs.init import InitSpec
from transfusion_core.specs.model import ModelEntry
from transfusion_core.specs.sections import PARTIAL

MAX_RUNS = 10_000
MAX_COMPARISONS = 100_000
"""Of pairs of runs, and of runs with their own beginnings; lines between two runs and parts of comparisons are among
them."""

Seeds = Mapping["Arm", int]
"""The arms of one model and train size, with how many seeds each has."""


class Arm(NamedTuple):
    """What runs share that differ in their seed alone."""

    label: str
    source: str | None
    kind: str


@dataclass(frozen=True)
class Amount:
    """Runs, and comparisons between them."""

    runs: int
    comparisons: int

    @property
    def is_too_much(self) -> bool:
        """Whether no experiment may ask for so much."""
        return self.runs > MAX_RUNS or self.comparisons > MAX_COMPARISONS

    def fault(self, place: str) -> Fault:
        """What is wrong with asking for so much."""
        return Fault(
            pointer=place,
            message=f"asks for {self.runs:,} runs and {self.comparisons:,} comparisons of them, each part counted; "
            f"an experiment has {MAX_RUNS:,} and {MAX_COMPARISONS:,} at most",
            allowed=[f"<= {MAX_RUNS} runs", f"<= {MAX_COMPARISONS} comparisons"],
        )


@dataclass(frozen=True)
class Product:
    """A whole product of models, inits, train sizes and seeds."""

    models: Sequence[ModelEntry]
    inits: Sequence[InitSpec]
    train_sizes: Sequence[Any]
    seeds: int
    parts: int = 1
    """Of each comparison."""

    def arms(self, model: ModelEntry) -> list[Arm]:
        """The arms of one of its models."""
        arms = (arm for init in self.inits for arm in init.arms(model.stage_names))
        return [Arm(arm.label, arm.source, arm.kind) for arm in arms]

    def amount(self, sections: frozenset[str]) -> Amount:
        """What it asks for by itself."""
        blocks = (dict.fromkeys(self.arms(model), self.seeds) for model in self.models)
        return _sum((_of_block(block, sections, self.parts) for block in blocks), times=len(self.train_sizes))


def amount_of(products: Iterable[Product], sections: frozenset[str]) -> Amount:
    """What products ask for together, of which none asks for too much: what several have in common counts once."""
    blocks: dict[tuple[str, Any], dict[Arm, int]] = defaultdict(dict)
    parts = 1
    for product in products:
        parts = max(parts, product.parts)
        for model in product.models:
            arms = product.arms(model)
            for size in product.train_sizes:
                block = blocks[model.name, size]
                block |= {arm: max(product.seeds, block.get(arm, 0)) for arm in arms}
    return _sum((_of_block(block, sections, parts) for block in blocks.values()), times=1)


def size_faults(products: Mapping[str, Product], sections: frozenset[str]) -> Iterator[Fault]:
    """Where products ask for too much, by their place in the body, or all of them together do."""
    too_much = {place: amount for place, each in products.items() if (amount := each.amount(sections)).is_too_much}
    yield from (amount.fault(place) for place, amount in too_much.items())
    if not too_much and len(products) > 1 and (together := amount_of(products.values(), sections)).is_too_much:
        yield together.fault("/grids")


def _sum(amounts: Iterable[Amount], *, times: int) -> Amount:
    found = [*amounts]
    return Amount(times * sum(each.runs for each in found), times * sum(each.comparisons for each in found))


def _of_block(block: Seeds, sections: frozenset[str], parts: int) -> Amount:
    """Of one model and train size; runs of others are never compared. It follows comparing.py, and `lines`."""
    runs = sum(block.values())
    pairs, starts, firsts = _pairs(block), _starts(block), _firsts(block)
    comparisons = runs if sections & {"movement", "reuse"} else 0
    if "movement" in sections:
        comparisons += starts
    if "similarity" in sections:
        comparisons += pairs + firsts
    elif "movement" in sections:
        comparisons += starts
    comparisons *= 1 + parts if parts > 1 else 1
    if "robustness" in sections:
        comparisons += _lines(block)
    return Amount(runs, comparisons)


def _pairs(block: Seeds) -> int:
    within = sum(seeds * (seeds - 1) // 2 for seeds in block.values())
    random = _random(block)
    return within + sum(_later(seeds, random) if _is_partial(arm) else seeds * random for arm, seeds in _others(block))


def _starts(block: Seeds) -> int:
    random = _random(block)
    others = (_later(seeds, random) if _is_partial(arm) else min(seeds, random) for arm, seeds in _others(block))
    return random * (random - 1) // 2 + sum(others)


def _firsts(block: Seeds) -> int:
    random = _random(block)
    others = (random > 1 if _is_partial(arm) else random > 0 for arm, _ in _others(block))
    return int(random > 1) + sum(others)


def _lines(block: Seeds) -> int:
    random = _random(block)
    across = sum(min(seeds, random) for arm, seeds in _others(block) if arm.kind != "slim")
    return across + sum(max(0, seeds - 1) for seeds in block.values())


def _random(block: Seeds) -> int:
    return sum(seeds for arm, seeds in block.items() if arm.kind == "random")


def _others(block: Seeds) -> list[tuple[Arm, int]]:
    return [(arm, seeds) for arm, seeds in block.items() if arm.kind != "random"]


def _later(seeds: int, random: int) -> int:
    """Pairs of a run with random of the next seed."""
    return min(seeds, max(0, random - 1))


def _is_partial(arm: Arm) -> bool:
    return arm.kind in PARTIAL
