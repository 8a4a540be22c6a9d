from typing import Any

import pytest
from pydantic import ValidationError

from transfusion_core.specs.augmentation import Augmentation
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.fault import Fault, faults_of
from transfusion_core.specs.keys import digest
from transfusion_core.specs.training import Recipe


def faults(written: Any) -> list[Fault]:
    body = {"name": "a", "dataset": "d", "models": ["resnet18"], "training": {"augmentation": written}}
    with pytest.raises(ValidationError) as raised:
        ExperimentSpec.model_validate(body)
    return faults_of(raised.value, ExperimentSpec)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("none", "none"),
        ("flip", "flip"),
        ({}, "none"),
        ({"flip": False, "rotation": 0, "jitter": {}}, "none"),
        ({"flip": True}, "flip"),
        ({"jitter": {"contrast": 0.5}}, {"jitter": {"contrast": 0.5}}),
        ({"flip": True, "crop": {"padding": 4}}, {"flip": True, "crop": {"padding": 4}}),
    ],
)
def test_what_means_the_same_is_kept_and_hashed_the_same(written: Any, kept: Any) -> None:
    recipe = Recipe(augmentation=written)
    assert recipe.model_dump(mode="json")["augmentation"] == kept
    assert Recipe.read(recipe.model_dump(mode="json")) == recipe


def test_recipes_that_were_written_before_keep_their_keys() -> None:
    """Recorded before augmentation had more than two words."""
    assert digest(Recipe().model_dump(mode="json"))[:16] == "8bf3e384a17bd5be"
    assert digest(Recipe(augmentation="none").model_dump(mode="json"))[:16] == "6ee7aa4d15b25d5c"


def test_words_stand_for_objects() -> None:
    assert Augmentation.of("none") == Augmentation()
    assert Augmentation.of("flip") == Augmentation(flip=True)
    assert Augmentation.of(Augmentation(rotation=5)) == Augmentation(rotation=5)


@pytest.mark.parametrize(
    ("written", "pointer", "message"),
    [
        ("flop", "", "Input should be 'none' or 'flip'"),
        (3, "", "Input should be 'none' or 'flip'"),
        ({"flp": True}, "/flp", "unknown field 'flp'"),
        ({"flip": "perhaps"}, "/flip", "valid boolean"),
        ({"rotation": 181}, "/rotation", "less than or equal to 180"),
        ({"rotation": -1}, "/rotation", "greater than or equal to 0"),
        ({"crop": {}}, "/crop", "exactly one of padding, scale"),
        ({"crop": {"padding": 4, "scale": [0.5, 1]}}, "/crop", "exactly one of padding, scale"),
        ({"crop": {"padding": 0}}, "/crop/padding", "greater than or equal to 1"),
        ({"crop": {"pading": 4}}, "/crop/pading", "unknown field 'pading'"),
        ({"crop": {"scale": [1, 0.5]}}, "/crop", "the least share of 'scale' before the largest"),
        ({"crop": {"scale": [0, 0.5]}}, "/crop/scale/0", "greater than 0"),
        ({"crop": {"scale": [0.5]}}, "/crop/scale", "at least 2 items"),
        ({"jitter": {"hue": 0.1}}, "/jitter/hue", "unknown field 'hue'"),
        ({"jitter": {"contrast": 1.5}}, "/jitter/contrast", "less than or equal to 1"),
    ],
)
def test_each_mistake_is_one_fault_at_its_place(written: Any, pointer: str, message: str) -> None:
    (fault,) = faults(written)
    assert fault.pointer == f"/training/augmentation{pointer}"
    assert message in fault.message


def test_the_nearest_name_is_told_deep_inside() -> None:
    assert faults({"crop": {"pading": 4}})[0].nearest == "padding"
    assert faults({"flp": True})[0].nearest == "flip"
