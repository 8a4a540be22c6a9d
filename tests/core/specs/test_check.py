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
