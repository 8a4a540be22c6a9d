"""Experiments that ask for too much are refused before any of it is made."""

import time
from typing import Any, get_args

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.check import check, readable
from transfusion_core.specs.check_grids import products
from transfusion_core.specs.check_size import MAX_COMPARISONS, MAX_RUNS, Amount, amount_of
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec, Section
from transfusion_core.specs.grid import cells
from transfusion_core.specs.presets import PRESETS

NATURAL = {"natural": {"pretrain": {"dataset": "demo-natural@1"}}}
LADDER = {"kind": "transfuse", "source": "natural", "prefix": "all"}
ARMS: list[Any] = [
    "random",
    {"kind": "pretrained", "source": "natural"},
    {"kind": "mean_var", "source": "natural", "bn": "reset"},
    LADDER,
    {**LADDER, "rest": "mean_var"},
    {"kind": "slim", "source": "natural", "prefix": "stage2"},
    "gabor",
]
GRID: dict[str, Any] = {"models": ["cbr-tiny"], "inits": ARMS[:4], "train_sizes": [100, "all"], "seeds": 3}
TINY: dict[str, Any] = {"name": "x", "dataset": "demo-retina", "models": ["cbr-tiny"]}


def reckoned(body: dict[str, Any]) -> Amount:
    """What a body asks for, as its check reckons it."""
    spec = ExperimentSpec.model_validate(body)
    parts = [readable(part).product for _, part in products(body)]
    amount = amount_of(parts, frozenset(spec.sections))
    if len(parts) == 1:
        assert parts[0].amount(frozenset(spec.sections)) == amount
    return amount


def true_amount(body: dict[str, Any]) -> Amount:
    """What it asks for once it is expanded."""
    expansion = expand(ExperimentSpec.model_validate(body), facts())
    comparing = sum(len(expansion.of_kind(kind)) for kind in ("moments", "compare", "barrier"))
    return Amount(len(expansion.cells), comparing)


def faults(body: dict[str, Any]) -> dict[str, str]:
    """What is wrong with a body, by place."""
    return {fault.pointer: fault.message for fault in check(body, facts())}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_reckoned_as_it_expands_and_is_taken(name: str) -> None:
    body = {**PRESETS[name], "dataset": "demo-retina@1"}
    assert reckoned(body) == true_amount(body)
    assert not any("an experiment has" in message for message in faults(body).values())


@pytest.mark.parametrize("sections", [*([each] for each in get_args(Section)), [*get_args(Section)]], ids=str)
@pytest.mark.parametrize("seeds", [1, 2, 4])
@pytest.mark.parametrize("inits", [ARMS, ARMS[1:], ARMS[:1], ARMS[3:4]], ids=len)
def test_every_section_is_reckoned_as_it_expands(sections: list[str], seeds: int, inits: list[Any]) -> None:
    models, sizes = ["cbr-tiny", "cbr-small"], [100, "all"]
    body = experiment(
        sources=NATURAL, models=models, inits=inits, train_sizes=sizes, seeds=seeds, sections=sections, image_size=64
    )
    assert reckoned(body) == true_amount(body)


@pytest.mark.parametrize("sections", [[each] for each in get_args(Section)], ids=str)
def test_parts_of_comparisons_are_reckoned_too(sections: list[str]) -> None:
    body = experiment(models=["cbr-tiny"], seeds=3, sections=sections, similarity={"parts": 3})
    assert reckoned(body) == true_amount(body)


def test_what_grids_have_in_common_counts_once() -> None:
    second = {**GRID, "models": ["cbr-tiny", "cbr-small"], "inits": ["random", *ARMS[4:]], "seeds": 5}
    union = {"models": second["models"], "inits": ARMS, "train_sizes": [100, "all"], "seeds": 5}
    body = experiment(sources=NATURAL, **union, grids=[GRID, second], sections=[*get_args(Section)])
    assert faults(body) == {}
    assert reckoned(body) == true_amount(body)


@pytest.mark.parametrize(
    ("change", "place", "told"),
    [
        ({"seeds": 1000}, "/seeds", "1,000 runs and 1,000,001 comparisons"),
        (
            {"models": [f"cbr-{name}" for name in ("tiny", "small")], "seeds": 1000},
            "/seeds",
            "2,000 runs and 2,000,002",
        ),
        (
            {"train_sizes": [*range(1, 12)], "seeds": 1000, "sections": ["performance"]},
            "/seeds",
            "11,000 runs and 0 comparisons",
        ),
        ({"seeds": 200, "similarity": {"parts": 4}}, "/seeds", "200 runs and 200,005 comparisons"),
    ],
    ids=str,
)
def test_too_much_is_refused_at_once_and_the_fault_says_how_much_it_is(
    change: dict[str, Any], place: str, told: str
) -> None:
    began = time.perf_counter()
    found = faults({**TINY, **change})
    assert time.perf_counter() - began < 1
    assert list(found) == [place]
    assert told in found[place]
    assert f"{MAX_RUNS:,} and {MAX_COMPARISONS:,} at most" in found[place]


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 1000, "sections": ["performance"]},
        {"train_sizes": [*range(1, 11)], "seeds": 1000, "sections": ["verdict"]},
    ],
    ids=["a thousand", "ten thousand"],
)
def test_large_experiments_without_comparisons_are_taken(change: dict[str, Any]) -> None:
    assert faults({**TINY, **change}) == {}


def test_a_grid_that_asks_for_too_much_is_told_at_its_place_and_all_together_at_theirs() -> None:
    body = {**TINY, "inits": ARMS[:1], "seeds": 1000, "train_sizes": [*range(1, 13)], "sections": ["performance"]}
    one = {axis: body[axis] for axis in ("models", "inits", "train_sizes", "seeds")}
    halves = [{**one, "train_sizes": sizes} for sizes in ([*range(1, 7)], [*range(7, 13)])]
    assert list(faults({**body, "grids": [{**one, "seeds": 1}, one]})) == ["/grids/1"]
    assert list(faults({**body, "grids": halves})) == ["/grids"]


def test_small_grids_in_a_product_of_millions_are_found_in_no_time() -> None:
    models = ["cbr-tiny", "cbr-small", "cbr-large-w", "cbr-large-t", "resnet18"]
    wide: dict[str, Any] = {"models": models, "inits": ARMS[:3], "train_sizes": [*range(1, 21)], "seeds": 1000}
    first = {axis: values[:1] for axis, values in wide.items() if axis != "seeds"}
    grids = [{**first, "seeds": 1000}, {**wide, "seeds": 1}]
    spec = ExperimentSpec.model_validate({**TINY, **wide, "sources": NATURAL, "grids": grids})
    began = time.perf_counter()
    assert len(cells(spec)) == 1000 + 5 * 3 * 20 - 1
    assert time.perf_counter() - began < 1
