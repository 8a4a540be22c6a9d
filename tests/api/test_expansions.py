"""Expansions that are kept: the same as those made anew, few, and only for what they were made of."""

from dataclasses import replace
from typing import Any

import pytest

from specs_examples import experiment, facts
from transfusion_api import expansions
from transfusion_api.expansions import Expansions
from transfusion_core.errors import InvalidRequest
from transfusion_core.specs.expand import expand
from transfusion_core.specs.experiment import ExperimentSpec


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the specs that are expanded anew."""
    names: list[str] = []

    def expand_and_tell(spec: ExperimentSpec, known: Any) -> Any:
        names.append(spec.name)
        return expand(spec, known)

    monkeypatch.setattr(expansions, "expand", expand_and_tell)
    return names


def test_what_is_kept_is_what_would_be_made_anew_but_for_the_name(made: list[str]) -> None:
    kept = Expansions()
    for name in ("first", "second"):
        body = {**experiment(), "name": name}
        assert kept.of(body, facts()) == expand(ExperimentSpec.model_validate(body), facts())
    assert made == ["first"]


def test_other_words_and_other_facts_are_expanded_anew(made: list[str]) -> None:
    kept, known = Expansions(), facts()
    body = experiment()
    name, found = next(iter(known.datasets.items()))
    others = replace(known, datasets={**known.datasets, name: replace(found, channels=1, registered=True)})
    kept.of(body, known)
    for other, seen in (({**body, "seeds": 5}, known), ({**body, "priority": 3}, known), (body, others)):
        assert kept.of(other, seen) == expand(ExperimentSpec.model_validate(other), seen)
    assert len(made) == 4
    kept.of(body, others)
    assert len(made) == 4


@pytest.mark.parametrize("body", [{}, None, [], {**experiment(), "name": ""}, {**experiment(), "name": 5}])
def test_faults_are_told_of_a_body_whose_twin_is_kept(body: Any) -> None:
    kept = Expansions()
    kept.of(experiment(), facts())
    with pytest.raises(InvalidRequest):
        kept.of(body, facts())


def test_so_many_drafts_are_kept_and_no_body_that_is_long(made: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Expansions()
    size = len(kept.of(experiment(), facts()).drafts)
    monkeypatch.setattr(expansions, "MOST_DRAFTS", 2 * size)
    bodies = [{**experiment(), "training": {"steps": 60 + number}} for number in (1, 2, 1, 3, 1, 2)]
    made.clear()
    for number, body in enumerate(bodies):
        kept.of({**body, "name": str(number)}, facts())
    assert made == ["0", "1", "3", "5"], "that which was asked for longest ago goes first"
    monkeypatch.setattr(expansions, "MOST_CHARACTERS", 10)
    kept.of(bodies[-1], facts())
    assert len(made) == 5
