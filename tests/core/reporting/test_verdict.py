"""The verdict on made-up studies whose answers are known, and the ladder of reused stages."""

from collections.abc import Callable
from typing import Any

import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.judging import AGREES, CANNOT_TELL, DISAGREES, QUALITY, REUSE, Claim, decided, weighed
from transfusion_core.specs.report import Report, Row

TRANSFUSE = {"kind": "transfuse", "source": "natural", "prefix": "all"}
SLIM = {"kind": "slim", "source": "natural", "prefix": "stage2"}


def report(
    change: Callable[[dict[str, Any]], None] = lambda job: None, failed: Any = lambda _: False, **spec
) -> Report:
    """The example's report, after its jobs were changed."""
    expanded = expansion(**{"models": ["cbr-tiny"], "seeds": 3, **spec})
    made = jobs(expanded, failed=failed)
    for job in made:
        change(job)
    return build(expanded.spec.model_dump(mode="json"), made)


def judged(claim: Claim, values: list[float], words: dict[str, Any]) -> Row:
    """The row of a table that holds one claim."""
    (row,) = decided([weighed(claim, values, words, missing="")])
    return row


def answers(made: Report, question: str) -> list[Row]:
    return [row for row in made.sections["verdict"].table if row.question and question in row.question]


@pytest.mark.parametrize(
    ("values", "answer"),
    [
        ([0.001, 0.002, 0.0015], AGREES),
        ([0.06, 0.061, 0.059], DISAGREES),
        ([0.0, 0.05, -0.05], CANNOT_TELL),
        ([0.06], CANNOT_TELL),
    ],
)
def test_comparable_is_said_only_where_it_is_shown(values: list[float], answer: str) -> None:
    row = judged(QUALITY, values, {"model": "m", "published": 0.003, "mark": "t"})
    assert row.answer == answer
    assert f"each other: {answer}" in row.text
    assert "published: 0.003 [t]" in row.text


@pytest.mark.parametrize(
    ("values", "answer"),
    [([0.3, 0.31, 0.29], AGREES), ([-0.3, -0.31, -0.29], DISAGREES), ([5e-17] * 3, CANNOT_TELL), ([0.1], CANNOT_TELL)],
)
def test_more_is_said_only_where_the_interval_says_so(values: list[float], answer: str) -> None:
    assert judged(REUSE, values, {"model": "m"}).answer == answer


def test_every_question_has_a_row_and_every_row_a_sentence() -> None:
    table = report(models=["cbr-tiny", "resnet18"], train_sizes=[50, "all"]).sections["verdict"].table
    assert len({row.question for row in table}) == 9
    assert all(row.text and (row.value is not None or row.reason) for row in table)
    assert {row.answer for row in table if row.question != "advice"} <= {AGREES, DISAGREES, CANNOT_TELL}


def test_transfer_that_lifts_quality_is_found_and_its_speed_up_too() -> None:
    made = report(seeds=5)
    (quality,) = answers(made, "final quality")
    assert (quality.answer, quality.value, quality.mark) == (DISAGREES, pytest.approx(0.06), "u")
    (speed,) = answers(made, "speed up training")
    assert (speed.answer, speed.value) == (AGREES, pytest.approx(2))
    (scaling,) = answers(made, "scaling")
    assert (scaling.answer, scaling.value) == (CANNOT_TELL, pytest.approx(1))


def test_a_few_speed_ups_that_a_coarse_grid_makes_equal_are_not_certain() -> None:
    (speed,) = answers(report(seeds=2), "speed up training")
    assert (speed.answer, speed.value) == (CANNOT_TELL, pytest.approx(2))
    assert speed.interval[0] < 1 < speed.interval[1]
    assert speed.seeds_needed > 2


def test_reuse_of_the_lowest_stage_alone_is_found() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "compare" and job["labels"]["a"]["init"] == "pretrained":
            for place, found in enumerate(job["result"]["results"]):
                found["value"] = 0.9 if place % 3 == 0 else 0.6 - 0.1 * (place % 3)

    (found,) = answers(report(plant), "reused")
    assert (found.answer, found.value) == (AGREES, pytest.approx(0.3))


def test_a_top_stage_that_keeps_less_is_no_reuse_of_the_lowest() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "compare" and job["labels"]["a"]["init"] == "pretrained":
            for place, found in enumerate(job["result"]["results"]):
                found["value"] = 0.6 - 0.2 * (place % 3)

    (found,) = answers(report(plant), "reused")
    assert (found.answer, found.value) == (CANNOT_TELL, pytest.approx(0, abs=1e-9))


def test_representations_that_differ_from_random_ones_are_found_by_network_not_by_pair() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "compare" and job["labels"]["pair"] == "pretrained-random":
            for found in job["result"]["results"]:
                found["value"] -= 0.5 + 0.001 * job["labels"]["b"]["seed"]

    (found,) = answers(report(plant, seeds=4), "other representations")
    assert (found.answer, found.n, found.test) == (AGREES, 4, "permutation")
    assert found.p_value == pytest.approx(2 / 70), "or the other way round, as pretrained ones are still more alike"
    (few,) = answers(report(plant), "other representations")
    assert (few.answer, few.value) == (CANNOT_TELL, pytest.approx(found.value, abs=0.01))
    (other,) = answers(report(seeds=4), "other representations")
    assert other.answer == DISAGREES, "random networks are less like each other than like pretrained ones"
    (none,) = answers(report(seeds=1), "other representations")
    assert (none.answer, none.value) == (CANNOT_TELL, None)


def test_what_is_missing_makes_nobody_guess() -> None:
    made = report(failed=lambda labels: labels.get("init") == "pretrained" or labels.get("pair", "").startswith("pre"))
    assert not made.sections["verdict"].complete
    assert {row.answer for row in answers(made, "final quality")} == {CANNOT_TELL}
    assert all(row.value is None for row in answers(made, "reused"))
    nothing = report(failed=lambda labels: True).sections["verdict"].table
    assert nothing[-1].text == "No run has ended well."


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0.5, 0.5, 0.5, 0.5], "random ends no better than chance"),
        ([0.9, 0.9, 0.9, 0.9], "at the threshold before its first step"),
    ],
)
def test_there_is_no_speed_up_without_steps(values: list[float], reason: str) -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "train" and job["labels"]["role"] == "cell":
            job["result"]["series"][0]["values"] = values

    (found,) = answers(report(plant), "speed up training")
    assert reason in found.reason


def test_a_run_that_never_gets_there_is_told() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "train" and job["labels"]["init"] == "pretrained":
            job["result"]["series"][0]["values"] = [0.5, 0.5, 0.5, 0.5]

    (found,) = answers(report(plant), "speed up training")
    assert found.reason == "a run has not reached the threshold"


def test_more_gain_from_few_images_is_found() -> None:
    def plant(job: dict[str, Any]) -> None:
        labels = job["labels"]
        if job["kind"] == "train" and (labels["init"], labels["train_size"]) == ("pretrained", 50):
            job["result"]["metrics"]["test"]["auroc"] += 0.05

    (found,) = answers(report(plant, train_sizes=[50, "all"]), "images are few")
    assert (found.answer, found.value) == (AGREES, pytest.approx(0.05))


def test_advice_takes_the_smallest_network_that_is_as_good() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "train":
            large = job["labels"]["model"] == "resnet18"
            job["result"]["parameters"] = 1000 if large else 10
            if large and job["labels"]["init"] == "pretrained":
                job["result"]["metrics"]["test"]["auroc"] += 0.005

    advice = answers(report(plant, models=["cbr-tiny", "resnet18"]), "advice")
    assert advice[0].model == "cbr-tiny"
    assert "the best mean is 0.875 of resnet18" in advice[0].text
    (share,) = [row for row in advice if row.metric == "parameters"]
    assert (share.value, share.reason) == (None, "none is smaller")
    (lone,) = [row for row in answers(report(seeds=1), "advice") if row.pair is None and row.metric == "auroc"]
    assert "a guess" in lone.text


def test_advice_says_how_many_parameters_transfer_saves() -> None:
    def plant(job: dict[str, Any]) -> None:
        if job["kind"] == "train":
            large = job["labels"]["model"] == "resnet18"
            job["result"]["parameters"] = 1000 if large else 10
            if large:
                job["result"]["metrics"]["test"]["auroc"] += 0.01

    advice = answers(report(plant, models=["cbr-tiny", "resnet18"]), "advice")
    (share,) = [row for row in advice if row.metric == "parameters"]
    assert (share.model, share.value) == ("cbr-tiny", pytest.approx(0.01))
    assert "with 1% of its parameters" in share.text


def test_advice_says_how_many_labels_transfer_saves() -> None:
    advice = answers(report(train_sizes=[50, "all"]), "advice")
    assert {row.value for row in advice if row.metric == "images"} == {50.0}


def test_the_ladder_has_a_row_per_rung_by_the_stages_that_it_reuses() -> None:
    inits = ["random", {"kind": "pretrained", "source": "natural"}, TRANSFUSE, SLIM, "gabor"]
    made = report(inits=inits, sections=["transfusion"]).sections["transfusion"]
    assert made.complete
    rows = {row.init: row for row in made.table if row.metric == "auroc" and row.pair is None}
    assert {init: row.stage for init, row in rows.items()} == {
        "random": 0, "transfuse(stage1)": 1, "transfuse(stage2)": 2, "transfuse(stage3)": 3, "transfuse(stage4)": 4,
        "pretrained": 4, "slim(stage2,0.5)": 2, "gabor": 0,
    }  # fmt: skip
    (gain,) = [row for row in made.table if row.pair == "slim(stage2,0.5)-random"]
    assert gain.value == pytest.approx(0.05)
    steps = {row.init: row.value for row in made.table if row.metric == "steps_to_threshold"}
    assert (steps["random"], steps["pretrained"]) == (40, 20)
    assert set(made.charts) == {"transfusion", "transfusion-steps"}


def test_a_ladder_without_rungs_says_what_it_needs() -> None:
    made = report(sections=["transfusion"], failed=lambda labels: labels.get("init") == "pretrained")
    section = made.sections["transfusion"]
    assert section.missing[0] == "an init among transfuse, slim, gabor"
    (row,) = [row for row in section.table if row.init == "pretrained"]
    assert row.reason == "no run of this arm has ended well"


def test_what_cannot_be_told_says_how_many_seeds_would_tell() -> None:
    row = judged(REUSE, [0.3, 0.1, -0.05], {"model": "m"})
    assert row.answer == CANNOT_TELL
    assert row.seeds_needed > 3
    assert f"({row.seeds_needed} seeds would, at this spread)" in row.text


def test_an_answer_has_to_outlive_the_correction_for_the_other_tests_of_its_table() -> None:
    values, lone = [0.1, 0.14, 0.5], weighed(REUSE, [0.1, 0.14, 0.18], {"model": "m"}, missing="")
    (alone,) = decided([lone])
    many = decided([lone, *[weighed(REUSE, values, {"model": str(n)}, missing="") for n in range(9)]])
    assert (alone.answer, alone.p_value, alone.p_adjusted) == (AGREES, many[0].p_value, many[0].p_value)
    assert (many[0].answer, many[0].p_adjusted) == (CANNOT_TELL, pytest.approx(10 * many[0].p_value))
    assert many[0].seeds_needed > 3, "so many would tell, corrected"


def test_published_values_are_shown_beside_what_they_are_of() -> None:
    (retina,) = answers(report(models=["resnet50"], train_sizes=["all"]), "final quality")
    assert retina.published == pytest.approx(0.003)
    few = answers(report(models=["resnet50"], train_sizes=[100, 5000]), "final quality")
    assert [row.published for row in few] == [None, pytest.approx(0.024)]
    (more,) = answers(report(models=["resnet50"], train_sizes=[100, "all"]), "images are few")
    assert (more.published, more.mark) == (pytest.approx(0.021), "t")
    (svcca,) = answers(report(similarity={"measures": ["svcca"], "images": 300}), "other representations")
    assert svcca.published is None, "the paper's are of cca"


def test_advice_says_whether_its_gain_is_shown() -> None:
    (gain,) = [row for row in answers(report(), "advice") if row.pair == "best-random"]
    assert (gain.value, gain.n, gain.interval) == (pytest.approx(0.06), 3, [pytest.approx(0.06)] * 2)
    assert "do not show" not in gain.text
    (lone,) = [row for row in answers(report(seeds=1), "advice") if row.pair == "best-random"]
    assert (lone.interval, lone.n) == (None, 1)
    assert "These seeds do not show that it changes anything." in lone.text
