"""Comparisons in parts: which jobs there are, what they are called by, and what stays as it was."""

import pytest

from specs_examples import experiment, facts
from transfusion_core.specs.comparing import comparison_draft, in_parts
from transfusion_core.specs.comparison import ComparisonSpec
from transfusion_core.specs.estimating import START_SECONDS, job_seconds
from transfusion_core.specs.expand import Expansion, expand, plan
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.facts import RunFacts
from transfusion_core.specs.fitting import memory_of
from transfusion_core.specs.job import MomentsJob, without_idle_parts

SIMILARITY = {"measures": ["cka"], "images": 300}
SPLITS = {"train": 1300, "val": 300, "test": 400}


def expanded(parts: int | None = None, **changes: object) -> Expansion:
    similarity = SIMILARITY if parts is None else {**SIMILARITY, "parts": parts}
    body = experiment(models=["cbr-tiny"], similarity=similarity, sections=["similarity"], **changes)
    return expand(ExperimentSpec.model_validate(body), facts())


def test_one_part_is_what_there_was_without_the_word() -> None:
    without, one = expanded(), expanded(1)
    assert [draft.key for draft in one.drafts] == [draft.key for draft in without.drafts]
    assert one.digest == without.digest
    assert "parts" not in one.spec.model_dump(mode="json")["similarity"]
    assert one.of_kind("moments") == []


def test_each_comparison_needs_a_job_for_every_part_and_keeps_its_key() -> None:
    whole, split = expanded(), expanded(3)
    assert [draft.key for draft in split.of_kind("compare")] == [draft.key for draft in whole.of_kind("compare")]
    by_key = {draft.key: draft for draft in split.drafts}
    for before, draft in zip(whole.of_kind("compare"), split.of_kind("compare"), strict=True):
        parts = [by_key[key] for key in draft.parts]
        assert [MomentsJob.read(part.spec).part for part in parts] == [0, 1, 2]
        assert {part.spec["of"] for part in parts} == {3}
        assert {part.needs for part in parts} == {before.needs}
        assert draft.needs == (*before.needs, *draft.parts)
        assert draft.spec == before.spec == {word: parts[0].spec[word] for word in draft.spec}
        assert [part.labels["part"] for part in parts] == [0, 1, 2]
        assert {part.labels["role"] for part in parts} == {"moments"}
    assert len(split.of_kind("moments")) == 3 * len(split.of_kind("compare"))


def test_parts_come_before_their_comparison_and_the_report_waits_for_the_comparison() -> None:
    split, seen = expanded(3), set[str]()
    for draft in split.drafts:
        assert seen.issuperset(draft.needs)
        seen.add(draft.key)
    (report,) = split.of_kind("report")
    assert not {draft.key for draft in split.of_kind("moments")}.intersection(report.needs)
    assert {job["kind"] for job in report.spec["jobs"]}.isdisjoint({"moments"})


def test_the_plan_has_the_parts_and_what_they_take() -> None:
    split = expanded(3)
    count = len(split.of_kind("compare"))
    told = plan(split, frozenset())
    assert told.jobs_by_kind["moments"] == 3 * count
    assert told.new_jobs == len(split.drafts)
    assert told.spec["similarity"]["parts"] == 3
    whole = plan(expanded(), frozenset())
    assert told.estimated_seconds == pytest.approx(whole.estimated_seconds + 3 * count * START_SECONDS, abs=0.2)
    (gpu,) = [demand for demand in told.demands if demand.queue == "gpu"]
    assert gpu.jobs == len([draft for draft in split.drafts if draft.gpus])


def test_a_part_takes_its_share_of_the_images_and_a_comparison_of_parts_none() -> None:
    (whole, *_), split = expanded().of_kind("compare"), expanded(3)
    part, together = split.of_kind("moments")[0], split.of_kind("compare")[0]
    assert job_seconds(together, SPLITS) == START_SECONDS
    assert job_seconds(part, SPLITS) - START_SECONDS == pytest.approx((job_seconds(whole, SPLITS) - START_SECONDS) / 3)
    assert memory_of(part) == memory_of(whole)


def test_the_plan_has_no_parts_of_comparisons_that_are_there() -> None:
    split = expanded(3)
    first, *others = split.of_kind("compare")
    told = plan(split, frozenset({first.key}))
    assert told.jobs_by_kind["moments"] == 3 * len(others)
    assert told.jobs_by_kind["compare"] == 1 + len(others)
    assert told.new_jobs == len(split.drafts) - 1 - 3


def test_what_is_there_is_not_put_together_again() -> None:
    split = expanded(3)
    first, second, *_ = split.of_kind("compare")
    left = {draft.key: draft for draft in without_idle_parts(split.drafts, {first.key})}
    assert left[first.key].parts == ()
    assert left[first.key].needs == first.needs[: -len(first.parts)]
    assert left[second.key] == second
    assert left.keys().isdisjoint(first.parts)


def test_a_comparison_that_is_asked_for_by_itself_has_parts_too() -> None:
    run = RunFacts(key="a" * 64, model="cbr-tiny", dataset="b" * 64, image_size=64, steps=None)
    asked = {"a": "r1@init", "b": "r1@final"}
    one, four = (ComparisonSpec.model_validate({**asked, "parts": parts}) for parts in (1, 4))
    (alone,) = in_parts(comparison_draft(one, run, run, "b" * 64), one.parts)
    *parts, together = in_parts(comparison_draft(four, run, run, "b" * 64), four.parts)
    assert (together.key, together.parts) == (alone.key, tuple(part.key for part in parts))
    assert len({part.key for part in parts}) == 4
    assert "parts" not in one.model_dump()


def test_images_that_nobody_has_counted_are_not_too_few() -> None:
    """A part that then has none is done in no time."""
    body = experiment(similarity={"parts": 16})
    assert ExperimentSpec.model_validate(body).similarity.parts == 16
