"""What weights expect of their images, by itself and against an experiment."""

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.contract import InputContract
from transfusion_core.specs.expand import expand, plan
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import Facts, RunFacts
from transfusion_core.specs.fault import Fault, faults_of

GREY = {"channels": 1, "mean": [0.5], "std": [0.25]}
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def known(**told: Any) -> Facts:
    """Facts with weights `mine`, of whose input this is told."""
    inputs = {"mine": InputContract(**told)} if told else {}
    return replace(facts(), weights={"mine": "a" * 64}, weight_inputs=inputs)


def body(source: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """A spec whose networks start from `mine`, or another source."""
    sources = {"s": source or {"weights": "mine"}}
    base = {"models": ["resnet18"], "sources": sources, "inits": ["random", {"kind": "pretrained", "source": "s"}]}
    return experiment(**{**base, **changes})


def by_source(**more: Any) -> dict[str, Any]:
    return {"training": {"steps": 20, "normalisation": "source"}, **more}


def only(written: dict[str, Any], found: Facts) -> Fault:
    (fault,) = check(written, found)
    return fault


@pytest.mark.parametrize(
    ("told", "mean", "std"),
    [
        (IMAGENET, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        (GREY, [0.5] * 3, [0.25] * 3),
        ({"mean": [0.0], "std": [1.0], "range": [-1, 1]}, [0.5] * 3, [0.5] * 3),
        ({"mean": [127.5], "std": [51], "range": [0, 255]}, [0.5] * 3, [0.2] * 3),
    ],
)
def test_moments_are_of_three_channels_in_0_to_1(told: dict[str, Any], mean: list[float], std: list[float]) -> None:
    moments = InputContract(**told).moments
    assert moments[0] == pytest.approx(mean)
    assert moments[1] == pytest.approx(std)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({**IMAGENET, "mean": [0.5, 0.5]}, "expected 3 numbers or one in 'mean', got 2"),
        ({**IMAGENET, "std": [1, 1, 1, 1]}, "expected 3 numbers or one in 'std', got 4"),
        ({**IMAGENET, "std": [0, 1, 1]}, "greater than 0"),
        ({**IMAGENET, "range": [1, 0]}, "black before white"),
        ({**IMAGENET, "colour": "rgb"}, "unknown field 'colour'"),
        ({"std": [1]}, "Field required"),
    ],
)
def test_a_contract_that_says_nothing_sensible_is_refused(told: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        InputContract(**told)
    (fault,) = faults_of(raised.value, InputContract)
    assert message in fault.message


def test_images_of_one_or_three_channels_fit_and_no_others() -> None:
    for told in (IMAGENET, GREY):
        assert check(body(), known(**told)) == []
    fault = only(body(), known(channels=4, mean=[0.5], std=[0.5]))
    assert (fault.pointer, fault.value, fault.allowed) == ("/sources/s/weights", 4, [1, 3])
    assert fault.message == "the weights expect 4 channels, images have 1 or 3"


def test_images_are_no_smaller_than_the_weights_take() -> None:
    fault = only(body(image_size=64), known(**IMAGENET, min_size=96))
    assert (fault.pointer, fault.value, fault.nearest) == ("/image_size", 64, "96")
    assert check(body(image_size=96), known(**IMAGENET, min_size=96)) == []


def test_who_normalises_by_the_source_needs_to_know_how() -> None:
    fault = only(body(**by_source()), known())
    assert fault.pointer == "/sources/s/weights"
    assert "register them with 'input', or normalise by the dataset" in fault.message
    assert check(body(), known()) == []
    assert check(body(**by_source()), known(**IMAGENET)) == []


def test_a_source_run_has_no_source_to_go_by() -> None:
    pretrain = {"dataset": "demo-natural@1", "training": {"steps": 20, "normalisation": "source"}}
    fault = only(body({"pretrain": pretrain}), facts())
    assert fault.pointer == "/sources/s/pretrain/training/normalisation"


def test_padding_leaves_a_quarter_of_the_image() -> None:
    fault = only(experiment(training={"augmentation": {"crop": {"padding": 33}}}), facts())
    assert (fault.pointer, fault.nearest) == ("/training/augmentation/crop/padding", "32")
    assert check(experiment(training={"augmentation": {"crop": {"padding": 32}}}), facts()) == []


def cells(written: dict[str, Any], found: Facts) -> dict[str, Any]:
    expansion = expand(ExperimentSpec.model_validate(written), found)
    return {draft.labels["init"]: draft for draft in expansion.cells}


def test_what_is_known_of_the_input_is_in_a_runs_key_only_where_it_counts() -> None:
    plain, told = cells(body(), known()), cells(body(), known(**IMAGENET))
    assert [draft.key for draft in plain.values()] == [draft.key for draft in told.values()]
    asked = cells(body(**by_source()), known(**IMAGENET))
    assert asked["pretrained"].spec["source"]["input"]["mean"] == IMAGENET["mean"]
    assert asked["random"].spec["source"] is None


def test_published_weights_bring_what_timm_says() -> None:
    asked = cells(body({"timm": "default"}, **by_source()), facts())["pretrained"]
    assert asked.spec["source"]["input"]["mean"] == IMAGENET["mean"]
    assert asked.spec["source"]["input"]["size"] == 224


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"weights": "mine"}, "source s of resnet18 was learnt at 96 px, images are 64 px"),
        ({"timm": "default"}, "source s of resnet18 was learnt at 224 px, images are 64 px"),
        ({"run": "r@final"}, "source s of resnet18 was learnt at 128 px, images are 64 px"),
    ],
)
def test_another_size_is_a_warning_of_the_plan(source: dict[str, str], told: str) -> None:
    run = RunFacts(key="a" * 64, model="resnet18", dataset="d" * 64, image_size=128, steps=None)
    found = replace(known(**IMAGENET, size=96), runs={"r": run})
    expansion = expand(ExperimentSpec.model_validate(body(source)), found)
    assert told in plan(expansion, frozenset()).warnings


def met(found: Facts, **looks: Any) -> Facts:
    """The facts, once the datasets were ingested and look so; of names without a version, as specs mostly have them."""
    named = {name: each for name, each in found.datasets.items() if "@" not in name}
    return replace(found, datasets={name: replace(each, **looks) for name, each in named.items()})


PRETRAIN = {"pretrain": {"dataset": "demo-natural", "training": {"steps": 20}}}


@pytest.mark.parametrize(
    ("source", "contract", "channels", "told"),
    [
        ({"weights": "mine"}, IMAGENET, 1, "source s of resnet18 was learnt on images of three channels, those of the "
         "dataset are grey: they are repeated in each"),
        ({"weights": "mine"}, GREY, 3, "source s of resnet18 was learnt on grey images, those of the dataset have "
         "colour: each channel enters with a third of the weights"),
        ({"timm": "default"}, GREY, 1, "source s of resnet18 was learnt on images of three channels, those of the "
         "dataset are grey: they are repeated in each"),
        ({"weights": "mine"}, GREY, 1, None),
        ({"weights": "mine"}, IMAGENET, None, None),
        (PRETRAIN, GREY, 1, None),
    ],
)  # fmt: skip
def test_colour_that_is_not_the_datasets_is_a_warning(
    source: dict[str, Any], contract: dict[str, Any], channels: int | None, told: str | None
) -> None:
    expansion = expand(
        ExperimentSpec.model_validate(body(source, dataset="demo-retina")), met(known(**contract), channels=channels)
    )
    assert [warning for warning in expansion.warnings if "learnt on" in warning] == ([told] if told else [])


def test_a_source_run_is_held_against_what_it_is_trained_on() -> None:
    found = met(facts(), channels=1)
    natural = {"demo-natural": replace(found.datasets["demo-natural"], channels=3)}
    expansion = expand(
        ExperimentSpec.model_validate(body(PRETRAIN, dataset="demo-retina")),
        replace(found, datasets={**found.datasets, **natural}),
    )
    assert any("learnt on images of three channels" in warning for warning in expansion.warnings)


def test_images_that_are_enlarged_are_counted() -> None:
    written = ExperimentSpec.model_validate(body(image_size=64, dataset="demo-retina"))
    found = met(known(**IMAGENET), resolutions={"300x60": 7, "28x28": 2, "640x640": 90, "64x100": 1})
    (told,) = (each for each in expand(written, found).warnings if "enlarged" in each)
    assert told == "9 of 100 images of demo-retina@1 are enlarged to 64 px: their shorter sides are 28 px or more"
    assert not [each for each in expand(written, met(found, resolutions={"64x64": 9})).warnings if "enlarged" in each]


def test_the_same_size_or_an_unused_source_is_none() -> None:
    found = known(**IMAGENET, size=64)
    for written in (body(), body({"timm": "default"}, inits=["random"])):
        assert not [w for w in expand(ExperimentSpec.model_validate(written), found).warnings if "learnt" in w]
