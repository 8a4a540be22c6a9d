"""Performance and small data: what is tested, over what the intervals are, and what stands where there is none."""

from typing import Any

import numpy as np
import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.predictions import Predictions
from transfusion_core.reporting.statistics import bootstrap_auc, delong, holm, paired_t, seeds_needed, tost
from transfusion_core.specs.report import Report, Row

TRUTH = np.stack([np.arange(240) % 2, np.zeros(240)], axis=1).astype(np.float32)
PATIENTS = np.arange(240) // 3


def scores(labels: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Scores of two thresholds; the second is never positive."""
    generator = np.random.default_rng(labels["seed"])
    lift = 2.0 if labels["init"] == "pretrained" else 1.0
    return generator.normal(size=(240, 2)) + lift * TRUTH


def report(patients: Any = PATIENTS, change: Any = lambda job: None, **changes: Any) -> Report:
    """The report of the example experiment, whose runs kept their scores."""
    expanded = expansion(**changes)
    done = jobs(expanded)
    for job in done:
        if job["labels"].get("role") == "cell" and job["result"]:
            job["predictions"] = Predictions([">=2", ">=3"], scores(job["labels"]), TRUTH, patients)
            never = {"label": ">=3", "auroc": None, "n": 240, "positives": 0, "reason": "never positive"}
            job["result"]["metrics"]["test"]["labels"].append(never)
        change(job)
    return build(expanded.spec.model_dump(mode="json"), done)


def rows(made: Report, section: str, **words: Any) -> list[Row]:
    """The rows of a section that have these words."""
    return [row for row in made.sections[section].table if all(getattr(row, k) == v for k, v in words.items())]


ARM = {"model": "cbr-tiny", "init": "pretrained", "label": ">=2"}


def test_each_run_has_delongs_interval_and_each_arm_one_over_the_same_patients() -> None:
    made = report()
    runs = rows(made, "performance", **ARM, metric="auroc_of_run")
    (arm,) = rows(made, "performance", **ARM, metric="auroc_resampled")
    cells = [{"init": "pretrained", "seed": seed} for seed in (0, 1)]
    expected = [delong(scores(cell)[:, 0], TRUTH[:, 0] == 1).interval for cell in cells]
    assert [(row.seed, row.interval) for row in runs] == [(0, expected[0]), (1, expected[1])]
    assert [row.value for row in runs] == pytest.approx([0.86, 0.87])
    drawn = bootstrap_auc([scores(cell)[:, 0] for cell in cells], TRUTH[:, 0] == 1, PATIENTS)
    assert (arm.measure, arm.n, arm.interval, arm.value) == ("patients", 2, drawn.interval, pytest.approx(0.865))


def test_the_macro_average_is_resampled_whole_and_labels_that_are_never_positive_say_so() -> None:
    made = report()
    of = {
        row.label: row for row in rows(made, "performance", model="cbr-tiny", init="random", metric="auroc_resampled")
    }
    assert of["macro"].interval == of[">=2"].interval
    assert (of[">=3"].value, of[">=3"].interval, of[">=3"].reason) == (None, None, "never positive")
    runs = {row.label: row for row in rows(made, "performance", model="cbr-tiny", init="random", metric="auroc_of_run")}
    assert (runs[">=3"].value, runs[">=3"].reason) == (None, "never positive")
    assert "mean over labels" in (runs["macro"].reason or "")


def test_images_are_drawn_where_patients_are_not_known() -> None:
    (arm,) = rows(report(patients=None), "performance", **ARM, metric="auroc_resampled")
    assert arm.measure == "images"
    assert arm.interval is not None


def test_runs_that_kept_no_scores_or_broken_ones_are_reported_without_that_interval() -> None:
    expanded = expansion()
    made = build(expanded.spec.model_dump(mode="json"), jobs(expanded))
    for metric in ("auroc_of_run", "auroc_resampled"):
        assert {(row.interval, row.reason) for row in rows(made, "performance", **ARM, metric=metric)} == {
            (None, "the scores of single images were not kept by these runs")
        }

    def spoil(job: dict[str, Any]) -> None:
        if "predictions" in job:
            job["predictions"].scores[3] = np.inf

    for metric in ("auroc_of_run", "auroc_resampled"):
        found = rows(report(change=spoil), "performance", **ARM, metric=metric)
        assert {(row.interval, row.reason) for row in found} == {(None, "scores not finite")}


def test_a_pair_has_both_tests_corrected_within_the_table_and_the_seeds_that_would_tell() -> None:
    def scatter(job: dict[str, Any]) -> None:
        labels = job["labels"]
        if labels.get("role") == "cell" and labels["init"] == "pretrained":
            for label in job["result"]["metrics"]["test"]["labels"]:
                label["auroc"] = label["auroc"] and label["auroc"] + 0.03 * (labels["seed"] % 2) + 0.01 * labels["seed"]

    made = report(change=scatter, seeds=4, models=["cbr-tiny"])
    pair = {**ARM, "pair": "pretrained-random"}
    (equivalent,) = rows(made, "performance", **pair, metric="auroc")
    (different,) = rows(made, "performance", **pair, metric="auroc_difference")
    deltas = [0.06 + 0.03 * (seed % 2) + 0.01 * seed for seed in range(4)]
    assert (equivalent.test, different.test) == ("tost", "paired t")
    assert (equivalent.p_value, different.p_value) == (pytest.approx(tost(deltas)), pytest.approx(paired_t(deltas)))
    assert (equivalent.seeds_needed, different.seeds_needed) == (None, seeds_needed(deltas))
    for test in ("tost", "paired t"):
        tested = rows(made, "performance", test=test)
        assert [row.p_adjusted for row in tested] == holm([row.p_value for row in tested])
        assert len(tested) > 2


def test_one_seed_has_no_test_and_says_why() -> None:
    (row,) = rows(report(seeds=1), "performance", **ARM, pair="pretrained-random", metric="auroc")
    assert (row.value, row.interval, row.test, row.p_value) == (pytest.approx(0.06), None, None, None)
    assert row.reason == "one seed has no spread: neither an interval nor a test"


def test_parameters_and_the_source_runs_own_quality_are_there() -> None:
    made = report()
    assert {row.value for row in rows(made, "performance", metric="parameters")} == {10}
    found = rows(made, "performance", metric="source_auroc")
    assert [(row.model, row.source, row.value) for row in found] == [
        ("cbr-tiny", "natural", pytest.approx(0.8)),
        ("resnet18", "natural", pytest.approx(0.8)),
    ]


def test_a_source_run_that_failed_says_so() -> None:
    expanded = expansion(models=["cbr-tiny"])
    done = jobs(expanded, failed=lambda labels: labels.get("role") == "source")
    made = build(expanded.spec.model_dump(mode="json"), done)
    for metric in ("source_auroc", "source_top1", "source_top5"):
        (row,) = rows(made, "performance", metric=metric)
        assert (row.value, row.reason) == (None, "failed: nan")


def _shapes(classes: int, **metrics: Any) -> Any:
    """Source runs that saw so many classes."""

    def change(job: dict[str, Any]) -> None:
        if job["kind"] == "ingest":
            job["result"] |= {"task": "multiclass", "classes": [str(number) for number in range(classes)]}
        elif job["labels"].get("role") == "source":
            job["result"]["metrics"]["test"] |= metrics

    return change


def accuracies(made: Report) -> list[tuple[float | None, str | None]]:
    """Top-1 and top-5 of the one source run."""
    found = [rows(made, "performance", metric=metric) for metric in ("source_top1", "source_top5")]
    return [(row.value, row.reason) for (row,) in found]


ONE = {"models": ["cbr-tiny"]}


def test_a_source_run_of_many_classes_has_its_accuracies() -> None:
    made = report(change=_shapes(24, top1=0.4, top5=0.7), **ONE)
    assert accuracies(made) == [(0.4, None), (0.7, None)]


def test_accuracies_that_do_not_exist_say_why() -> None:
    few = report(change=_shapes(5, top1=0.4), **ONE)
    assert accuracies(few) == [(0.4, None), (None, "the source has 5 classes: any answer is among the 5 highest")]
    before = report(change=_shapes(24), **ONE)
    assert accuracies(before) == [(None, "not kept by this run")] * 2
    broken = report(change=_shapes(24, auroc=None, loss=None, reason="scores not finite on 1 of 6 images"), **ONE)
    assert accuracies(broken) == [(None, "scores not finite on 1 of 6 images")] * 2
    graded = [(None, "the source is ordinal: its images have no one class to be right about")] * 2
    assert accuracies(report(**ONE)) == graded


def test_an_accuracy_of_unknown_images_is_not_measured() -> None:
    def forget(job: dict[str, Any]) -> None:
        if job["labels"].get("role") == "source":
            job["result"]["manifest"].pop("dataset_digest")

    assert accuracies(report(change=forget, **ONE)) == [(None, "not kept by this run")] * 2


def _chest(job: dict[str, Any]) -> None:
    job.pop("predictions", None)
    if job["kind"] == "ingest":
        job["result"]["task"] = "multilabel"
    elif job["kind"] == "train":
        job["result"]["metrics"]["test"]["labels"][0]["label"] = "Pleural Effusion"


def test_table_2_stands_beside_labels_that_carry_its_names() -> None:
    made = report(change=_chest)
    words = {"model": "cbr-tiny", "init": "pretrained", "metric": "auroc", "pair": None}
    (effusion,) = rows(made, "performance", **words, label="Pleural Effusion")
    (macro,) = rows(made, "performance", **words, label="macro")
    assert (effusion.published, effusion.mark, macro.published) == (pytest.approx(0.8769), "u", None)


SIZES = {"sections": ["performance", "small_data"], "train_sizes": [100, 5000, "all"], "models": ["cbr-large-t"]}


def test_small_data_has_the_gain_at_every_size_with_table_3_at_its_own() -> None:
    made = report(**SIZES)
    section = made.sections["small_data"]
    assert section.complete
    gains = rows(made, "small_data", init="pretrained", pair="pretrained-random", metric="auroc")
    assert [(row.train_size, row.value) for row in gains] == [
        (size, pytest.approx(0.06)) for size in (100, 5000, "all")
    ]
    known = {
        row.train_size: row.published for row in rows(made, "small_data", init="pretrained", metric="auroc", pair=None)
    }
    assert known == {100: None, 5000: pytest.approx(0.939), "all": None}
    by_size = next(iter(section.charts["gain-by-size"]["datasets"].values()))
    assert {point["images"] for point in by_size} == {100, 5000, 1300}
    by_capacity = next(iter(section.charts["gain-by-capacity"]["datasets"].values()))
    assert {point["parameters"] for point in by_capacity} == {10}
    assert {point["facet"] for point in by_capacity} == {"100 images", "5000 images", "all images"}


def test_small_data_of_one_size_says_what_it_needs() -> None:
    section = report(sections=["small_data"]).sections["small_data"]
    assert not section.complete
    assert section.missing == ["a second size among train_sizes: gain against size takes two"]
    assert section.table
