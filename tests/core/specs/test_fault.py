"""Faults: what pydantic found, in words that a user and a JSON document can take."""

import json

import pytest
from pydantic import ValidationError

from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.fault import faults_of


def test_a_word_that_a_union_does_not_allow_is_a_fault_at_its_field() -> None:
    with pytest.raises(ValidationError) as caught:
        ComparisonSpec.model_validate({"a": "x@init", "b": "x@final", "layers": "stagse"})
    faults = faults_of(caught.value, ComparisonSpec)
    assert {fault.pointer for fault in faults} == {"/layers"}
    assert (faults[0].allowed, faults[0].nearest) == (["stages"], "stages")
    json.dumps([fault.model_dump(mode="json") for fault in faults])
