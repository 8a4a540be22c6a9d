"""What sections need of a spec, told when it is planned."""

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.sections import lacking

RANDOM_ALONE = {"inits": ["random"], "models": ["cbr-tiny"], "seeds": 1}
TRANSFER_ALONE = {"inits": [{"kind": "pretrained", "source": "natural"}], "models": ["cbr-tiny"]}


def spec(section: str, **changes: object) -> ExperimentSpec:
    return ExperimentSpec.model_validate(experiment(sections=[section], **changes))


@pytest.mark.parametrize(
    ("section", "changes", "words"),
    [
        ("small_data", {}, "a second size"),
        ("transfusion", {}, "an init among transfuse, slim, gabor"),
        ("similarity", RANDOM_ALONE, "a second network to compare with"),
        ("similarity", {**RANDOM_ALONE, "inits": ["random", "gabor"]}, "two seeds"),
        ("reuse", RANDOM_ALONE, "random and another init"),
        ("reuse", TRANSFER_ALONE, "random and another init"),
        ("convergence", TRANSFER_ALONE, "the init random"),
        ("verdict", RANDOM_ALONE, "random and another init"),
    ],
)
def test_a_section_that_cannot_be_whole_says_what_it_needs(
    section: str, changes: dict[str, object], words: str
) -> None:
    asked = spec(section, **changes)
    assert words in lacking(asked)[section]
    assert any(warning.startswith(f"{section} lacks") for warning in expand(asked, facts()).warnings)


@pytest.mark.parametrize(
    "section", ["dataset", "performance", "similarity", "movement", "reuse", "convergence", "robustness", "verdict"]
)
def test_a_section_that_can_be_whole_lacks_nothing(section: str) -> None:
    assert lacking(spec(section)) == {}


def test_what_was_not_asked_for_is_not_missed() -> None:
    assert lacking(spec("performance", **RANDOM_ALONE)) == {}
