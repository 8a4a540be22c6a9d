"""Several experiments as one."""

from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.combining import CombineSpec, combine_faults, combined
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec

RANDOM: list[Any] = ["random"]
PRETRAINED = {"kind": "pretrained", "source": "natural"}
ASKED = CombineSpec(experiments=["a", "b"])


def resolved(**changes: Any) -> ExperimentSpec:
    """An experiment's spec as it is stored."""
    body = {"models": ["cbr-tiny"], "sections": ["performance"], **changes}
    return expand(ExperimentSpec.model_validate(experiment(**body)), facts()).spec


def expanded(a: ExperimentSpec, b: ExperimentSpec, asked: CombineSpec = ASKED) -> Expansion:
    specs = {"a": a, "b": b}
    assert [*combine_faults(asked, specs)] == []
    return expand(ExperimentSpec.model_validate(combined(asked, specs)), facts(), grids=[a, b])


def words(ours: Expansion) -> list[tuple[Any, ...]]:
    return [tuple(cell.labels[word] for word in ("model", "init", "train_size", "seed")) for cell in ours.cells]


def test_runs_are_those_of_both_and_no_others() -> None:
    a = resolved(inits=RANDOM, seeds=2)
    b = resolved(inits=[PRETRAINED], seeds=1, train_sizes=[100, "all"], models=["cbr-tiny", "cbr-small"])
    ours = expanded(a, b)
    assert sorted(map(str, words(ours))) == sorted(
        map(
            str,
            [
                *[("cbr-tiny", "random", "all", seed) for seed in (0, 1)],
                *[(model, "pretrained", size, 0) for model in ("cbr-tiny", "cbr-small") for size in (100, "all")],
            ],
        )
    )
    keys = {draft.key for spec in (a, b) for draft in expand(spec, facts()).drafts if draft.kind == "train"}
    assert {draft.key for draft in ours.of_kind("train")} == keys, "nothing is trained again, sources neither"


def test_what_stands_in_both_stands_there_once_and_sections_are_joined_in_their_order() -> None:
    a, b = resolved(inits=RANDOM, sections=["verdict", "convergence"]), resolved(inits=[*RANDOM, PRETRAINED])
    ours = expanded(a, b)
    assert len(ours.cells) == 4
    assert ours.spec.sections == ["performance", "convergence", "verdict"]
    assert expanded(a, b, CombineSpec(experiments=["a", "b"], sections=["movement"])).spec.sections == ["movement"]


def test_runs_of_different_experiments_are_compared_with_each_other() -> None:
    a, b = (resolved(inits=inits, seeds=1, sections=["similarity"]) for inits in (RANDOM, [PRETRAINED]))
    pairs = {draft.labels["pair"] for draft in expanded(a, b).of_kind("compare")}
    assert pairs == {"pretrained-random"}
    alone = [draft for spec in (a, b) for draft in expand(spec, facts()).of_kind("compare")]
    assert alone == []


def test_a_part_of_a_grid_has_another_digest_than_all_of_it() -> None:
    a, b = resolved(inits=RANDOM, seeds=2), resolved(inits=[PRETRAINED], seeds=1)
    ours = expanded(a, b)
    assert ours.digest != expand(ours.spec, facts()).digest
    assert ours.digest == expanded(a, b).digest


def test_names_are_joined_unless_one_is_given() -> None:
    a, b = resolved(name="one"), resolved(name="two")
    assert combined(ASKED, {"a": a, "b": b})["name"] == "one and two"
    assert combined(CombineSpec(experiments=["a", "b"], name="mine"), {"a": a, "b": b})["name"] == "mine"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dataset": "demo-chest"}, "dataset: expected 'demo-retina@1', got 'demo-chest@1'"),
        ({"image_size": 40}, "image_size: expected 64, got 40"),
        ({"training": {"steps": 60, "eval_every": 20, "lr": 0.5}}, "training/lr: expected 0.001, got 0.5"),
        ({"similarity": {"measures": ["cka"], "images": 300}}, "similarity/measures: expected ['cca'"),
        (
            {"sources": {"natural": {"pretrain": {"dataset": "demo-natural", "seed": 5}}}},
            "sources/natural/pretrain/seed: expected 1000, got 5",
        ),
        (
            {"inits": ["random", {**PRETRAINED, "skip": ["stem"]}]},
            "init pretrained/skip: expected [], got ['stem']",
        ),
    ],
)
def test_what_was_not_done_alike_is_not_read_as_one(changes: dict[str, Any], why: str) -> None:
    base = {"inits": ["random", PRETRAINED], "sections": ["similarity"]}
    specs = {"a": resolved(**base), "b": resolved(**base | changes)}
    faults = [*combine_faults(ASKED, specs)]
    assert {fault.pointer for fault in faults} == {"/experiments/1"}
    assert any(fault.message.startswith(f"differs from experiment a in {why}") for fault in faults)


def test_similarity_may_be_settled_by_the_request() -> None:
    a, b = (resolved(similarity={"measures": [name], "images": 300}) for name in ("cka", "svcca"))
    asked = CombineSpec.model_validate({"experiments": ["a", "b"], "similarity": {"measures": ["cka"], "images": 50}})
    assert expanded(a, b, asked).spec.similarity.images == 50


def test_rates_are_tried_at_one_size() -> None:
    grid = {"steps": 60, "eval_every": 20, "lr": {"grid": [0.1, 0.01]}}
    specs = {"a": resolved(training=grid, train_sizes=[100]), "b": resolved(training=grid)}
    (fault,) = combine_faults(ASKED, specs)
    assert fault.message.endswith("at which learning rates are tried: expected 100, got all")


def test_every_fault_is_told_at_once() -> None:
    asked = CombineSpec(experiments=["none", "a", "a", "b"])
    specs = {"a": resolved(), "b": resolved(image_size=40, dataset="demo-chest")}
    told = [(fault.pointer, fault.value) for fault in combine_faults(asked, specs)]
    assert told[:2] == [("/experiments/0", "none"), ("/experiments/2", "a")]
    assert set(told[2:]) == {("/experiments/3", "b")}
