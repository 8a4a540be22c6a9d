"""Bad specs: every fault at once, with its place and the nearest thing that would do."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specs_examples import experiment, facts
from transfusion_core.specs.check import check
from transfusion_core.specs.fault import Fault

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def only(body: dict[str, Any]) -> Fault:
    """The one fault that a body has."""
    (fault,) = check(body, facts())
    return fault


def test_a_good_spec_has_no_fault() -> None:
    assert check(experiment(), facts()) == []


@pytest.mark.parametrize(
    ("changes", "pointer", "nearest"),
    [
        ({"models": ["resnet5O"]}, "/models/0", "resnet50"),
        ({"models": ["inception_v3"], "image_size": 75, "inits": ["gabor"]}, "/inits/0/kind", "random"),
        ({"models": ["inception_v3"], "sections": ["performance"]}, "/image_size", "75"),
        ({"modles": ["resnet18"]}, "/modles", "models"),
        ({"training": {"stesp": 3}}, "/training/stesp", "steps"),
        ({"training": {"optimizer": "adm"}}, "/training/optimizer", "adam"),
        ({"seeds": 0}, "/seeds", "1"),
        ({"training": {"lr": 101}}, "/training/lr", "100.0"),
        ({"training": {"lr": 0}}, "/training/lr", None),
        ({"dataset": "demo-retnia@1"}, "/dataset", "demo-retina@1"),
        ({"similarity": {"measures": ["cca"], "images": 100}}, "/similarity/images", "129"),
        ({"similarity": {"measures": ["cka"], "images": 1000}}, "/similarity/images", "400"),
        ({"similarity": {"parts": 17}}, "/similarity/parts", "16"),
        ({"similarity": {"parts": 0}}, "/similarity/parts", "1"),
        ({"similarity": {"measures": ["cka"], "images": 9, "parts": 5}}, "/similarity/parts", "4"),
        ({"inits": [{"kind": "pretrained", "source": "natrual"}]}, "/inits/0/source", "natural"),
        ({"inits": [{"kind": "pretrained"}]}, "/inits/0", None),
        ({"inits": ["random", "random"]}, "/inits/1", None),
        ({"models": ["cbr-tiny", "cbr-tiny"]}, "/models/1", None),
        ({"train_sizes": [5000]}, "/train_sizes/0", "1300"),
        ({"train_sizes": ["some"]}, "/train_sizes/0", None),
        ({"sources": {"natural": {"timm": "default"}}, "models": ["cbr-tiny"]}, "/sources/natural/timm", None),
        ({"sources": {"natural": {"weights": "mine"}}}, "/sources/natural/weights", None),
        ({"sources": {"natural": {"run": "nobody@final"}}}, "/sources/natural/run", None),
        ({"sources": {"natural": {}}}, "/sources/natural", None),
    ],
    ids=str,
)
def test_a_fault_names_its_place_and_the_nearest_allowed_value(
    changes: dict[str, Any], pointer: str, nearest: str | None
) -> None:
    fault = only(experiment(**changes))
    assert (fault.pointer, fault.nearest) == (pointer, nearest)


@pytest.mark.parametrize(
    ("lr", "place", "told"),
    [
        ({"grid": []}, "/grid", "at least 1 item"),
        ({"grid": [1e-3, 1e-4, 1e-3]}, "/grid", "expected each rate once, got 0.001 twice"),
        ({"grid": [n / 100 for n in range(1, 12)]}, "/grid", "at most 10 items"),
        ({"grid": [1e-3, 0]}, "/grid/1", "greater than 0"),
        ({"grid": [1e-3, -1]}, "/grid/1", "greater than 0"),
        ({"grid": ["fast"]}, "/grid/0", "a valid number"),
        ([1e-3, 1e-4], "", "a valid number"),
    ],
    ids=str,
)
def test_a_grid_of_learning_rates_that_cannot_be_is_one_fault(lr: Any, place: str, told: str) -> None:
    fault = only(experiment(training={"lr": lr}))
    assert fault.pointer == f"/training/lr{place}"
    assert told in fault.message


def test_a_misspelt_grid_is_told_how_it_is_spelt() -> None:
    missing, unknown = check(experiment(training={"lr": {"gird": [1e-3]}}), facts())
    assert (missing.pointer, missing.message) == ("/training/lr/grid", "Field required")
    assert (unknown.pointer, unknown.nearest) == ("/training/lr/gird", "grid")


def test_the_rest_of_a_recipe_is_checked_with_a_grid_too() -> None:
    fault = only(experiment(models=["cbr-tiny"], training={"lr": {"grid": [1e-3]}, "freeze": "stagE9"}))
    assert fault.pointer == "/training/freeze"


def test_a_source_is_trained_at_one_rate() -> None:
    tuned = {"pretrain": {"dataset": "demo-natural", "training": {"lr": {"grid": [1e-3]}}}}
    assert only(experiment(sources={"natural": tuned})).pointer == "/sources/natural/pretrain/training/lr"


def arm(kind: str, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "source": "natural", **more}


@pytest.mark.parametrize(
    ("init", "pointer", "told"),
    [
        (arm("transfuse"), "/inits/0", "init 'transfuse' needs a 'prefix', a stage's name"),
        (arm("slim"), "/inits/0", "init 'slim' needs a 'prefix', a stage's name"),
        ({"kind": "transfuse", "prefix": "stage1"}, "/inits/0", "init 'transfuse' needs a 'source'"),
        (arm("pretrained", prefix="stage1"), "/inits/0", "init 'pretrained' takes no 'prefix'"),
        (arm("slim", prefix="all"), "/inits/0", "prefix 'all' is for init 'transfuse'; 'slim' takes one stage"),
        (arm("slim", prefix="stage1", rest="random"), "/inits/0", "'rest' is for init 'transfuse'"),
        (arm("transfuse", prefix="stage1", width=0.5), "/inits/0", "'width' is for init 'slim'"),
        (arm("transfuse", prefix="stage1", bn="copy"), "/inits/0", "'bn' is for init 'mean_var'"),
        (arm("transfuse", prefix="stage1", rest="zero"), "/inits/0/rest", "'random' or 'mean_var'"),
        (arm("slim", prefix="stage1", width=1), "/inits/0/width", "less than 1"),
        (arm("slim", prefix="stage1", width=0), "/inits/0/width", "greater than 0"),
        (
            arm("transfuse", prefix="layer1"),
            "/inits/0/prefix",
            "cbr-tiny has no stage 'layer1'; its stages are stage1, stage2, stage3, stage4",
        ),
        (arm("slim", prefix="stagE3"), "/inits/0/prefix", "cbr-tiny has no stage 'stagE3'"),
        (arm("slim", prefix="stage4"), "/inits/0/prefix", "'stage4' is the last stage of cbr-tiny"),
    ],
    ids=str,
)
def test_a_prefix_that_cannot_be_is_a_fault(init: dict[str, Any], pointer: str, told: str) -> None:
    fault = only(experiment(models=["cbr-tiny"], inits=[init]))
    assert fault.pointer == pointer
    assert told in fault.message


def test_the_fault_of_a_stage_gives_those_there_are() -> None:
    fault = only(experiment(models=["cbr-tiny"], inits=[arm("transfuse", prefix="stagE3")]))
    assert (fault.allowed, fault.nearest) == (["stage1", "stage2", "stage3", "stage4", "all"], "stage3")
    fault = only(experiment(models=["cbr-tiny"], inits=[arm("slim", prefix="stage4")]))
    assert fault.allowed == ["stage1", "stage2", "stage3"]


def test_a_stage_of_one_model_is_a_fault_of_the_other_and_a_ladder_is_none() -> None:
    assert "resnet18 has no stage 'stage2'" in only(experiment(inits=[arm("transfuse", prefix="stage2")])).message
    assert check(experiment(inits=["random", arm("transfuse", prefix="all")]), facts()) == []


@pytest.mark.parametrize(
    ("model", "kind", "told"),
    [
        ("vit_tiny_patch16_224", "slim", "models of the families cbr and resnet can be slim"),
        ("convnext_tiny", "slim", "models of the families cbr and resnet can be slim"),
        ("hrnet_w18", "transfuse", "not a chain of named stages"),
        ("cait_xxs24_224", "transfuse", "not a chain of named stages"),
    ],
)
def test_a_family_that_an_init_does_not_fit_is_told_why(model: str, kind: str, told: str) -> None:
    body = experiment(models=[model], inits=[arm(kind, prefix="all" if kind == "transfuse" else "s")], image_size=224)
    fault = only(body | {"sections": ["performance"]})
    assert fault.pointer == "/inits/0/kind"
    assert told in fault.message


@pytest.mark.parametrize(
    ("inits", "place"),
    [
        ([arm("transfuse", prefix="all"), arm("transfuse", prefix="stage2")], 1),
        ([arm("transfuse", prefix="all"), arm("transfuse", prefix="all", rest="random")], 1),
        ([arm("slim", prefix="stage2"), arm("slim", prefix="stage2", width=0.5)], 1),
    ],
    ids=str,
)
def test_a_rung_of_a_ladder_is_not_asked_for_twice(inits: list[Any], place: int) -> None:
    fault = only(experiment(models=["cbr-tiny"], inits=inits))
    assert (fault.pointer, fault.message) == (f"/inits/{place}", "is there twice")


def test_all_faults_come_at_once() -> None:
    body = experiment(
        models=["resnet5O", "inception_v3", "resnet18"],
        inits=["random", "gabor"],
        seeds=0,
        colour="red",
        dataset="nothing@1",
        similarity={"measures": ["cca"], "images": 20},
    )
    assert {fault.pointer for fault in check(body, facts())} == {
        "/models/0",
        "/inits/1/kind",
        "/image_size",
        "/seeds",
        "/colour",
        "/dataset",
        "/similarity/images",
    }


def test_the_papers_protocol_needs_samples_for_its_64_channels_only() -> None:
    wide = {"measures": ["cca"], "images": 100}
    assert only(experiment(similarity=wide)).nearest == "129"
    assert check(experiment(similarity=wide | {"protocol": "paper"}), facts()) == []


def test_the_papers_protocol_takes_no_more_images_than_it_has_samples() -> None:
    fault = only(experiment(similarity={"measures": ["cka"], "images": 10_001, "protocol": "paper"}))
    assert fault.pointer == "/similarity"
    assert "compares about 10000 samples: expected no more images, got 10001" in fault.message


def test_averaged_maps_give_one_sample_an_image() -> None:
    averaged = {"measures": ["cca"], "images": 200, "spatial": "averaged"}
    assert only(experiment(models=["cbr-tiny"], similarity=averaged)).nearest == "257"
    fault = only(experiment(similarity=averaged | {"measures": ["cka"], "protocol": "paper"}))
    assert fault.pointer == "/similarity"
    assert "expected spatial 'sampled', got 'averaged'" in fault.message


def test_cca_that_no_number_of_test_images_allows_offers_other_measures() -> None:
    fault = only(experiment(image_size=32, models=["resnet18"], similarity={"measures": ["cca", "cka"]}))
    assert fault.pointer == "/similarity/measures"
    assert fault.allowed == ["svcca", "cka"]


@settings(max_examples=200)
@given(JSON)
def test_no_json_body_whatever_breaks_the_check(body: Any) -> None:
    assert check(body, facts())


@settings(max_examples=200)
@given(st.sampled_from(sorted(experiment())), JSON)
def test_no_value_of_any_field_breaks_the_check(field: str, value: Any) -> None:
    for fault in check(experiment(**{field: value}), facts()):
        assert fault.pointer.startswith("/")
        fault.model_dump_json()
