"""Several experiments as one."""

from dataclasses import replace
from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.combining import CombineSpec, combined, named_in, read
from transfusion_core.specs.expand import Expansion, expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import Facts, RunFacts
from transfusion_core.specs.fault import Fault

RANDOM: list[Any] = ["random"]
PRETRAINED = {"kind": "pretrained", "source": "natural"}
NATURAL = {"pretrain": {"dataset": "demo-natural@1", "training": {"steps": 20}}}
BODY: dict[str, Any] = {"models": ["cbr-tiny"], "sections": ["performance"]}


def jobs(**changes: Any) -> Expansion:
    """An experiment as it is made."""
    return expand(ExperimentSpec.model_validate(experiment(**BODY | changes)), facts())


def stored(**changes: Any) -> dict[str, Any]:
    """The spec that is kept of it."""
    return jobs(**changes).spec.model_dump(mode="json")


def joined(*specs: dict[str, Any], known: Facts | None = None, **more: Any) -> Expansion:
    """The jobs of the experiment that combines those of these specs."""
    by_id = {f"e{place}": spec for place, spec in enumerate(specs)}
    body, known = {"experiments": [*by_id], **more}, known or facts()
    parts, faults = read(body, by_id, dict.fromkeys(by_id, known))
    assert faults == []
    union = combined(CombineSpec.model_validate(body), parts)
    assert check(union.model_dump(mode="json"), known) == []
    return expand(union, known)


def refused(*specs: dict[str, Any], **more: Any) -> list[Fault]:
    """Why these are not read as one."""
    by_id = {f"e{place}": spec for place, spec in enumerate(specs)}
    return read({"experiments": [*by_id], **more}, by_id, dict.fromkeys(by_id, facts()))[1]


def words(ours: Expansion) -> list[tuple[Any, ...]]:
    return [tuple(cell.labels[word] for word in ("model", "init", "train_size", "seed")) for cell in ours.cells]


def trained(*expansions: Expansion) -> set[str]:
    return {draft.key for expansion in expansions for draft in expansion.of_kind("train")}


def test_runs_are_those_of_both_in_the_order_of_the_spec_and_nothing_is_trained_again() -> None:
    a = {"inits": RANDOM, "seeds": 2}
    b = {"inits": [PRETRAINED], "seeds": 1, "train_sizes": [100, "all"], "models": ["cbr-tiny", "cbr-small"]}
    ours = joined(stored(**a), stored(**b))
    assert words(ours) == [
        *[("cbr-tiny", "random", "all", seed) for seed in (0, 1)],
        *[(model, "pretrained", size, 0) for model in ("cbr-tiny", "cbr-small") for size in ("all", 100)],
    ]
    assert trained(ours) == trained(jobs(**a), jobs(**b)), "sources are shared too"


def test_runs_that_are_a_whole_product_are_written_as_one() -> None:
    ours = joined(stored(inits=RANDOM), stored(inits=[*RANDOM, PRETRAINED]))
    whole = jobs(inits=[*RANDOM, PRETRAINED])
    assert "grids" not in ours.spec.model_dump(mode="json")
    assert (ours.digest, [d.key for d in ours.drafts]) == (whole.digest, [d.key for d in whole.drafts])


def test_the_spec_of_a_combination_asks_for_its_runs_and_no_others() -> None:
    ours = joined(stored(inits=RANDOM, seeds=2), stored(inits=[PRETRAINED], seeds=1))
    kept = ours.spec.model_dump(mode="json")
    again = expand(ExperimentSpec.model_validate(kept), facts())
    assert (again.digest, again.cells) == (ours.digest, ours.cells)
    whole = expand(ours.spec.model_copy(update={"grids": None}), facts())
    assert (len(ours.cells), len(whole.cells)) == (3, 4)
    assert ours.digest != whole.digest


def test_a_combination_is_combined_like_any() -> None:
    few = joined(stored(inits=RANDOM, seeds=2), stored(inits=[PRETRAINED], seeds=1))
    more = joined(few.spec.model_dump(mode="json"), stored(inits=RANDOM, train_sizes=[100, "all"], seeds=1))
    assert len(more.cells) == 4
    assert trained(few) < trained(more)


def test_what_would_not_go_together_in_one_product_does_in_a_combination() -> None:
    timm = {"sources": {"imagenet": {"timm": "default"}}, "inits": [{"kind": "pretrained", "source": "imagenet"}]}
    ours = joined(stored(inits=RANDOM), stored(**timm, models=["resnet18"]))
    assert {(model, init) for model, init, _, _ in words(ours)} == {("cbr-tiny", "random"), ("resnet18", "pretrained")}
    rung = {"kind": "transfuse", "source": "natural", "prefix": "stage4"}
    ladder = joined(stored(inits=[{**rung, "prefix": "all"}]), stored(inits=[*RANDOM, rung]))
    assert len(words(ladder)) == len(set(words(ladder))) == 2 * (4 + 1)


def test_a_run_that_one_experiment_starts_from_needs_no_model_of_the_others() -> None:
    run = RunFacts(key="a" * 64, model="resnet18", dataset="d" * 64, image_size=64, steps=None)
    known = replace(facts(), runs={"r": run})
    source = {"sources": {"mine": {"run": "r@final"}}, "inits": [{"kind": "pretrained", "source": "mine"}]}
    body = ExperimentSpec.model_validate(experiment(**BODY | source | {"models": ["resnet18"]}))
    ours = joined(stored(inits=RANDOM), expand(body, known).spec.model_dump(mode="json"), known=known)
    assert len(ours.cells) == 4


def test_sections_are_joined_in_their_order_unless_they_are_given() -> None:
    a, b = stored(inits=RANDOM, sections=["verdict", "convergence"]), stored(inits=[*RANDOM, PRETRAINED])
    assert joined(a, b).spec.sections == ["performance", "convergence", "verdict"]
    assert joined(a, b, sections=["movement"]).spec.sections == ["movement"]


@pytest.mark.parametrize(("section", "kind"), [("similarity", "compare"), ("robustness", "barrier")])
def test_runs_of_different_experiments_are_compared_with_each_other(section: str, kind: str) -> None:
    a, b = ({"inits": inits, "seeds": 1, "sections": [section]} for inits in (RANDOM, [PRETRAINED]))
    ours = joined(stored(**a), stored(**b)).of_kind(kind)
    assert {draft.labels["pair"] for draft in ours} == {"pretrained-random"}
    assert [draft for each in (a, b) for draft in jobs(**each).of_kind(kind)] == []


def test_names_are_joined_and_priority_is_that_of_the_request() -> None:
    a, b = stored(name="one", priority=50, cache="refresh"), stored(name="two")
    ours = joined(a, b).spec
    assert (ours.name, ours.priority, ours.cache) == ("one and two", 0, "use")
    assert joined(a, b, name="mine", priority=3).spec.name == "mine"
    assert joined(a, b, priority=3).spec.priority == 3


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"dataset": "demo-chest"}, "/dataset: expected 'demo-retina@1', got 'demo-chest@1'"),
        ({"image_size": 40}, "/image_size: expected 64, got 40"),
        ({"training": {"steps": 60, "eval_every": 20, "lr": 0.5}}, "/training/lr: expected 0.001, got 0.5"),
        ({"similarity": {"measures": ["cka"], "images": 300}}, "/similarity/measures: expected ['cca'"),
        (
            {"sources": {"natural": {"pretrain": {"dataset": "demo-natural", "seed": 5, "training": {"steps": 20}}}}},
            "/sources/natural/pretrain/seed: expected 1000, got 5",
        ),
        (
            {"sources": {"other": NATURAL}, "inits": [{**PRETRAINED, "source": "other"}]},
            "/sources/other: expected it under the name 'natural', got 'other'",
        ),
        ({"inits": ["random", {**PRETRAINED, "skip": ["stem"]}]}, "init pretrained/skip: expected [], got ['stem']"),
    ],
    ids=str,
)
def test_what_was_not_done_alike_is_not_read_as_one(changes: dict[str, Any], why: str) -> None:
    base: dict[str, Any] = {"inits": ["random", PRETRAINED], "sections": ["similarity"]}
    faults = refused(stored(**base), stored(**base | changes))
    assert {fault.pointer for fault in faults} == {"/experiments/1"}
    assert any(fault.message.startswith(f"differs from experiment e0 in {why}") for fault in faults)


def test_names_are_compared_among_all_and_not_with_the_first_alone() -> None:
    changed = {"pretrain": {**NATURAL["pretrain"], "seed": 5}}
    specs = [stored(inits=RANDOM, sources={}), stored(inits=[PRETRAINED]), stored(inits=[PRETRAINED])]
    specs[2]["sources"]["natural"]["pretrain"] |= changed["pretrain"]
    (fault, *_) = refused(*specs)
    assert (fault.pointer, "experiment e1 in /sources/natural" in fault.message) == ("/experiments/2", True)


def test_similarity_may_be_settled_by_the_request() -> None:
    a, b = (stored(similarity={"measures": [name], "images": 300}) for name in ("cka", "svcca"))
    assert refused(a, b)
    assert joined(a, b, similarity={"measures": ["cka"], "images": 50}).spec.similarity.images == 50


def test_probe_images_left_open_until_the_dataset_was_read_are_no_difference() -> None:
    before, after = (stored(similarity={"measures": ["cka"]}) for _ in range(2))
    before["similarity"]["images"] = None
    assert joined(before, after).spec.similarity.images == 400


def test_rates_are_tried_at_one_size() -> None:
    grid = {"steps": 60, "eval_every": 20, "lr": {"grid": [0.1, 0.01]}}
    (fault,) = refused(stored(training=grid, train_sizes=[100]), stored(training=grid))
    assert fault.message.endswith("at whose largest learning rates are tried: expected 100, got all")
    a, b = {"training": grid, "train_sizes": [100, "all"], "inits": RANDOM}, {"training": grid, "inits": [PRETRAINED]}
    assert trained(joined(stored(**a), stored(**b))) == trained(jobs(**a), jobs(**b))


def test_runs_that_are_kept_apart_are_not_shared() -> None:
    (fault,) = refused(stored(), stored(cache="off"))
    assert (fault.pointer, fault.message.partition(":")[2]) == (
        "/experiments/1",
        " expected cache 'use' or 'refresh', got 'off'",
    )


def test_every_fault_is_told_at_once() -> None:
    specs = {"a": stored(), "b": stored(image_size=40), "c": stored() | {"models": ["gone"]}, "d": {"name": "x"}}
    body = {"experiments": ["none", "a", "a", "b", "c", "d"], "sections": ["bogus"], "priority": 1000}
    faults = read(body, specs, dict.fromkeys(specs, facts()))[1]
    told: dict[str, list[str]] = {}
    for fault in faults:
        told.setdefault(fault.pointer, []).append(fault.message)
    assert set(told) == {"/sections/0", "/priority", *(f"/experiments/{place}" for place in (0, 2, 3, 4, 5))}
    assert told["/experiments/0"] == ["there is no experiment 'none'"]
    assert told["/experiments/2"] == ["is there twice"]
    assert told["/experiments/3"] == ["differs from experiment a in /image_size: expected 64, got 40"]
    assert told["/experiments/4"][0].startswith("its spec does not hold any more: /models/0: there is no model 'gone'")
    assert any("/dataset: Field required" in why for why in told["/experiments/5"])


@pytest.mark.parametrize("body", [None, [], {}, {"experiments": 3}, {"experiments": [1, {}]}, {"experiments": []}])
def test_a_body_that_names_no_experiments_is_only_a_fault(body: Any) -> None:
    assert named_in(body) == {}
    assert read(body, {}, {})[1]
