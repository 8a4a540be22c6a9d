"""Recipes that do not fit the models or the data that they are for."""

from dataclasses import replace
from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.facts import Facts
from transfusion_core.specs.fault import Fault


def only(training: dict[str, Any], known: Facts | None = None, **changes: Any) -> Fault:
    """The one fault that an experiment with this recipe has."""
    (fault,) = check(experiment(training=training, **{"models": ["cbr-tiny"]} | changes), known or facts())
    return fault


def known(**changes: Any) -> Facts:
    """Facts with another demo dataset of retinas."""
    datasets = facts().datasets
    return replace(facts(), datasets=datasets | {"demo-retina@1": replace(datasets["demo-retina@1"], **changes)})


def test_a_recipe_that_fits_has_no_fault() -> None:
    training = {
        "freeze": "stage2", "layer_decay": 0.5, "early_stopping": {"patience": 3}, "class_weights": "balanced",
    }  # fmt: skip
    assert check(experiment(models=["cbr-tiny"], training=training), facts()) == []
    assert check(experiment(training={"freeze": "all"}), facts()) == []


def test_a_stage_that_is_not_there_gives_those_there_are() -> None:
    fault = only({"freeze": "stagE3"})
    assert (fault.pointer, fault.value) == ("/training/freeze", "stagE3")
    assert fault.message == "cbr-tiny has no stage 'stagE3'; its stages are stage1, stage2, stage3, stage4"
    assert (fault.allowed, fault.nearest) == (["stage1", "stage2", "stage3", "stage4", "all"], "stage3")


def test_the_recipe_of_a_source_is_looked_at_too() -> None:
    source = {"pretrain": {"dataset": "demo-natural@1", "training": {"freeze": "layer1"}}}
    assert only({}, sources={"natural": source}).pointer == "/sources/natural/pretrain/training/freeze"


@pytest.mark.parametrize(("field", "value"), [("freeze", "all"), ("layer_decay", 0.5)])
@pytest.mark.parametrize("model", ["hrnet_w18", "cait_xxs24_224"])
def test_a_model_without_a_chain_of_stages_takes_no_recipe_by_stages(model: str, field: str, value: Any) -> None:
    more = {"inits": ["random"], "image_size": 224, "sections": ["performance"]}
    fault = only({field: value}, models=[model], **more)
    assert (fault.pointer, fault.value) == (f"/training/{field}", value)
    assert f"'{field}' does not fit {model} (the model is not a chain of named stages" in fault.message


@pytest.mark.parametrize(
    ("training", "pointer"),
    [
        ({"early_stopping": {"patience": 2}}, "/training/early_stopping"),
        ({"schedule": "plateau", "plateau_patience": 2}, "/training/schedule"),
    ],
)
def test_validation_that_steers_needs_images_to_validate_on(training: dict[str, Any], pointer: str) -> None:
    fault = only(training, known(splits={"train": 100, "val": 0, "test": 400}))
    assert (fault.pointer, fault.message) == (pointer, "the val split has no images to go by")


def test_there_are_as_many_weights_as_classes() -> None:
    fault = only({"class_weights": [1, 2]}, known(classes=5))
    assert (fault.pointer, fault.value, fault.allowed) == ("/training/class_weights", 2, ["balanced", "5 numbers"])
    assert check(experiment(training={"class_weights": [1, 2, 3, 4, 5]}), known(classes=5)) == []


@pytest.mark.parametrize(
    ("training", "pointer"),
    [
        ({"ema": 1}, "/training/ema"),
        ({"layer_decay": 0}, "/training/layer_decay"),
        ({"early_stopping": {"patience": 0}}, "/training/early_stopping/patience"),
        ({"early_stopping": {"patience": 1, "metric": "los"}}, "/training/early_stopping/metric"),
        ({"schedule": "plateau"}, "/training"),
        ({"class_weights": "balancd"}, "/training/class_weights"),
        ({"class_weights": 3}, "/training/class_weights"),
        ({"class_weights": [1, 0]}, "/training/class_weights/1"),
        ({"retry_on_divergence": "perhaps"}, "/training/retry_on_divergence"),
    ],
    ids=str,
)
def test_numbers_out_of_their_bounds_and_unknown_words_are_faults(training: dict[str, Any], pointer: str) -> None:
    assert only(training).pointer == pointer
