"""Estimates of how long jobs take."""

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.estimating import START_SECONDS, job_seconds
from transfusion_core.specs.expand import Expansion, expand, plan
from transfusion_core.specs.experiment import ExperimentSpec

SPLITS = {"train": 1300, "val": 300, "test": 400}


def expanded(**changes: object) -> Expansion:
    return expand(ExperimentSpec.model_validate(experiment(models=["cbr-tiny"], **changes)), facts())


def total(sections: list[str]) -> float:
    return plan(expanded(sections=sections), frozenset()).estimated_seconds


def test_comparisons_probes_and_barriers_take_time_too() -> None:
    bare = total(["performance"])
    for section, kinds in (("similarity", {"compare"}), ("robustness", {"probe", "barrier"})):
        ours = [d for d in expanded(sections=["performance", section]).drafts if d.kind in kinds]
        assert {draft.kind for draft in ours} == kinds
        more = sum(job_seconds(draft, SPLITS) for draft in ours)
        assert more > len(ours) * START_SECONDS
        assert total(["performance", section]) == pytest.approx(bare + more, abs=0.1)


def test_jobs_of_a_dataset_that_nobody_has_read_are_estimated_all_the_same() -> None:
    (profile,) = expanded(sections=["dataset"]).of_kind("profile")
    assert job_seconds(profile, None) == START_SECONDS
    cell = expanded().cells[0]
    assert job_seconds(cell, None) > job_seconds(cell, SPLITS) > START_SECONDS, "more images are assumed"


def test_jobs_on_larger_images_take_longer() -> None:
    for kind in ("train", "compare"):
        small, large = (expanded(image_size=size).of_kind(kind)[-1] for size in (32, 128))
        assert job_seconds(large, SPLITS) > 4 * job_seconds(small, SPLITS)
