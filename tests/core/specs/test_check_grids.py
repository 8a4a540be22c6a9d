"""Specs that are made of grids."""

from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec

PRETRAINED = {"kind": "pretrained", "source": "natural"}
FIRST: dict[str, Any] = {"models": ["cbr-tiny"], "inits": ["random"], "train_sizes": ["all"], "seeds": 2}
SECOND: dict[str, Any] = {**FIRST, "models": ["cbr-small"], "inits": [PRETRAINED], "seeds": 1}
WHOLE: dict[str, Any] = {"models": ["cbr-tiny", "cbr-small"], "inits": ["random", PRETRAINED], "seeds": 2}


def faults(first: Any = FIRST, second: Any = SECOND, **changes: Any) -> dict[str, str]:
    """What is wrong with the two grids, by place."""
    body = experiment(**WHOLE | {"grids": [first, second]} | changes)
    return {fault.pointer: fault.message for fault in check(body, facts())}


def test_runs_are_those_of_the_grids() -> None:
    assert faults() == {}
    spec = ExperimentSpec.model_validate(experiment(**WHOLE, grids=[FIRST, SECOND, SECOND]))
    cells = [tuple(cell.labels[word] for word in ("model", "init", "seed")) for cell in expand(spec, facts()).cells]
    assert cells == [("cbr-tiny", "random", 0), ("cbr-tiny", "random", 1), ("cbr-small", "pretrained", 0)]


@pytest.mark.parametrize(
    ("second", "pointer"),
    [
        ({**SECOND, "models": ["cbr-smal"]}, "/grids/1/models/0"),
        ({**SECOND, "inits": [{**PRETRAINED, "source": "natrual"}]}, "/grids/1/inits/0/source"),
        ({**SECOND, "inits": [PRETRAINED, PRETRAINED]}, "/grids/1/inits/1"),
        ({**SECOND, "train_sizes": [5000]}, "/grids/1/train_sizes/0"),
        ({**SECOND, "seeds": 0}, "/grids/1/seeds"),
        ({**SECOND, "sedes": 1}, "/grids/1/sedes"),
        ({"models": ["cbr-small"]}, "/grids/1/inits"),
        (3, "/grids/1"),
    ],
    ids=str,
)
def test_a_fault_of_a_grid_is_told_at_its_place(second: Any, pointer: str) -> None:
    assert pointer in faults(second=second)


def test_a_fault_that_all_grids_share_is_told_once() -> None:
    body = experiment(**WHOLE, grids=[FIRST, SECOND], dataset="nothing", training={"class_weights": [1, 2]})
    assert [fault.pointer for fault in check(body, facts())] == ["/dataset"]


def test_sources_are_looked_up_whether_a_grid_uses_them_or_not() -> None:
    lost = {"pretrain": {"dataset": "lost"}}
    assert set(faults(sources={**experiment()["sources"], "lost": lost})) == {"/sources/lost/pretrain/dataset"}


@pytest.mark.parametrize(
    ("changes", "pointer", "which"),
    [
        ({"models": ["cbr-tiny"]}, "/models", "'cbr-small'"),
        ({"models": [*WHOLE["models"], "resnet18"]}, "/models", "'resnet18'"),
        ({"inits": [*WHOLE["inits"], "gabor"]}, "/inits", "'gabor'"),
        ({"train_sizes": ["all", 100]}, "/train_sizes", "100"),
        ({"seeds": 5}, "/seeds", "2"),
    ],
    ids=str,
)
def test_a_spec_names_all_that_is_in_its_grids_and_nothing_else(
    changes: dict[str, Any], pointer: str, which: str
) -> None:
    ((place, told),) = faults(**changes).items()
    assert place == pointer
    assert which in told
    assert "'grids: null'" in told


def test_defaults_that_are_written_out_are_the_same_inits() -> None:
    short, long = ({"kind": "mean_var", "source": "natural"} | more for more in ({}, {"bn": "reset"}))
    assert faults(second={**SECOND, "inits": [short]}, inits=["random", long]) == {}
