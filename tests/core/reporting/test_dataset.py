"""The section `dataset` on made-up results whose right answers are known."""

import json
from typing import Any

import pytest

from studies import PICTURE, expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.pictures import svg
from transfusion_core.specs.report import ReportSection, Row


def section(failed: Any = lambda labels: False, change: Any = len, **changes: Any) -> ReportSection:
    expanded = expansion(**{"sections": ["dataset"], **changes})
    done = jobs(expanded, failed=failed)
    change(done)
    made = build(expanded.spec.model_dump(mode="json"), done)
    json.dumps(made.model_dump(mode="json"), allow_nan=False)
    return made.sections["dataset"]


def rows(made: ReportSection, **words: Any) -> list[Row]:
    return [row for row in made.table if all(getattr(row, k) == v for k, v in words.items())]


def test_images_patients_and_groups_are_counted() -> None:
    made = section()
    assert made.complete
    assert [row.value for row in rows(made, metric="images", label=None)] == [1300, 300, 400]
    assert [row.value for row in rows(made, metric="images", label="1")] == [100, 100, 100]
    assert [(row.label, row.value) for row in rows(made, metric="resolution")] == [("64x64", 2000)]
    patients = {row.split: row.value for row in rows(made, metric="patients")}
    assert patients == {None: 6, "train": 4, "val": 1, "test": 2}
    groups = {(row.measure, row.metric): row.value for row in made.table if row.metric and "groups" in row.metric}
    assert groups["exact", "groups"] == groups["exact", "groups_across_labels"] == 1
    assert groups["near", "groups_across_splits"] == 0
    assert groups["patient", "groups_across_splits"] == 1


def test_intensities_and_missing_labels_are_rows() -> None:
    made = section()
    (mean,) = rows(made, metric="intensity_mean")
    assert (mean.measure, mean.value, mean.sd) == ("grey", 0.5, 0.1)
    assert [row.label for row in rows(made, metric="intensity")][::31] == ["0.016", "0.984"]
    assert [(row.split, row.label, row.value) for row in rows(made, metric="missing")] == [
        ("train", "0", 7),
        ("train", "1", 0),
    ]


def test_the_text_says_what_leaks() -> None:
    text = section().text
    assert "1 groups of images with the same pixels (1 across splits, 1 with several labels)" in text
    assert "1 patients with images in more than one split. A network may know such test images" in text


def test_nothing_is_said_of_leaks_where_there_are_none_and_of_patients_where_they_are_not_known() -> None:
    def without(done: list[dict[str, Any]]) -> None:
        (profile,) = [job["result"] for job in done if job["kind"] == "profile"]
        profile |= {"patients": None, "found": [{**each, "across_splits": 0} for each in profile["found"]]}

    made = section(change=without)
    assert "may know" not in made.text
    assert "patients with" not in made.text
    (row,) = rows(made, metric="patients")
    assert (row.value, row.reason) == (None, "patients are not known")
    assert {row.reason for row in rows(made, measure="patient")} == {"patients are not known"}


def test_blocks_are_shuffled_of_the_first_init_at_the_largest_size() -> None:
    made = section(train_sizes=[100, "all"], models=["cbr-tiny"])
    shuffled = rows(made, measure="block_shuffle", metric="auroc_drop")
    assert {(row.init, row.train_size, row.n) for row in shuffled} == {("random", "all", 2)}
    assert [(row.blocks, row.value) for row in shuffled] == [
        (2**i, pytest.approx(0.02 * i, abs=1e-9)) for i in range(5)
    ]


def test_the_probes_of_the_section_robustness_serve_this_one() -> None:
    made = section(sections=["dataset", "robustness"], models=["cbr-tiny"])
    assert made.complete
    assert {row.init for row in rows(made, measure="block_shuffle")} == {"random"}
    assert not rows(made, measure="reinit")


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("profile", "profile of demo-retina@1 (failed: nan)"), ("probe", "probe of cbr-tiny random, all images, seed 0")],
)
def test_what_failed_is_named(kind: str, missing: str) -> None:
    def fail(done: list[dict[str, Any]]) -> None:
        for job in done:
            if job["kind"] == kind:
                job |= {"state": "failed", "reason": "nan", "result": None}

    made = section(change=fail, models=["cbr-tiny"])
    assert not made.complete
    assert made.missing[0].startswith(missing)
    assert made.charts.keys() == {"classes", "figure-1", "intensities", "resolutions", "texture"}


def test_a_report_from_before_profiles_says_that_it_has_none() -> None:
    def drop(done: list[dict[str, Any]]) -> None:
        done[:] = [job for job in done if job["kind"] != "profile"]

    assert section(change=drop).missing == ["profile of demo-retina@1"]


def test_charts_draw_samples_and_classes() -> None:
    made = section()
    assert PICTURE in json.dumps(made.charts["figure-1"])
    assert {row["label"] for row in made.charts["classes"]["datasets"]["rows"]} == {"0", "1"}
    assert {row["label"] for row in made.charts["resolutions"]["datasets"]["rows"]} == {"64x64"}
    assert len(made.charts["intensities"]["datasets"]["rows"]) == 32
    for chart in made.charts.values():
        assert "NaN" not in svg(chart)
        assert svg(chart).startswith("<svg")
