"""Sections on made-up results whose right answers are known."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from studies import LIFT, expansion, jobs
from transfusion_core.reporting.build import SECTIONS, build
from transfusion_core.specs.experiment import Section
from transfusion_core.specs.report import Report, Row


def report(failed: Any = lambda labels: False, **changes: Any) -> Report:
    """The report of the example experiment, changed."""
    expanded = expansion(**changes)
    return build(expanded.spec.model_dump(mode="json"), jobs(expanded, failed=failed))


def rows(made: Report, section: str, **words: Any) -> list[Row]:
    """The rows of a section that have these words."""
    return [row for row in made.sections[section].table if all(getattr(row, k) == v for k, v in words.items())]


def test_every_section_of_the_spec_has_its_function() -> None:
    assert set(SECTIONS) == set(Section.__args__)  # type: ignore[attr-defined]


def test_a_whole_study_is_complete_and_holds_only_what_json_can_say() -> None:
    made = report()
    assert list(made.sections) == [
        *("dataset", "performance", "similarity", "movement", "reuse", "convergence", "verdict")
    ]
    assert all(section.complete and not section.missing for section in made.sections.values())
    json.dumps(made.model_dump(mode="json"), allow_nan=False)


def test_no_interval_of_a_quality_or_similarity_leaves_what_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seeds of a good model: the t interval of 0.99 and 0.96 reaches to 1.17, where there is no AUROC."""
    monkeypatch.setitem(LIFT, "random", 0.19)
    made = report(
        seeds=2, sections=["performance", "similarity", "convergence", "transfusion", "robustness", "verdict"]
    )
    held = {"auroc", "auprc", "cca", "svcca", "cka"}
    level = [
        row
        for section in made.sections.values()
        for row in section.table
        if row.interval and row.pair is None and (row.metric or row.measure) in held
    ]
    assert {row.question for row in level} >= {None, "advice"}
    assert all(0 <= row.interval[0] <= row.interval[1] <= 1 for row in level if row.interval)


def test_table_1_is_mean_and_sd_over_seeds_with_the_published_value_beside_it() -> None:
    (row,) = rows(report(), "performance", model="cbr-tiny", init="random", label=">=2", metric="auroc", pair=None)
    assert row.value == pytest.approx(0.805)
    assert row.sd == pytest.approx(0.01 / 2**0.5)
    assert (row.n, row.published, row.mark) == (2, 0.958, "u")


def test_rates_that_were_tried_are_shown_with_the_one_that_was_taken_and_why_others_have_no_value() -> None:
    made = report(
        failed=lambda labels: labels.get("lr") == 0.1, training={"steps": 60, "lr": {"grid": [0.01, 0.001, 0.1]}}
    )
    found = {(r.lr, r.metric): r for r in rows(made, "performance", model="cbr-tiny", init="random") if r.lr}
    assert [lr for (lr, _), row in found.items() if row.chosen] == [0.001, 0.001]
    assert [found[lr, "val_loss"].value for lr in (0.001, 0.01, 0.1)] == [0.001, 0.01, None]
    assert found[0.1, "val_loss"].reason == "failed: nan"
    assert found[0.01, "val_auroc"].reason == "one class only"
    assert {row.seed for row in found.values()} == {0}


def test_the_difference_of_two_inits_is_paired_by_seed() -> None:
    (row,) = rows(
        report(seeds=3), "performance", model="resnet18", pair="pretrained-random", label=">=2", metric="auroc"
    )
    assert row.value == pytest.approx(0.06)
    assert row.interval == pytest.approx([0.06, 0.06])
    assert row.p_value == pytest.approx(1.0), "0.06 is not equivalent at a margin of 0.01"


def test_figure_2_averages_the_top_two_stages_over_all_pairs_of_networks() -> None:
    (row,) = rows(report(), "similarity", model="cbr-tiny", pair="pretrained-random", measure="cca", layer=None)
    assert row.value == pytest.approx((0.8 + 0.7) / 2)
    assert (row.n, row.null_iid, row.published, row.mark) == (4, pytest.approx(0.1), 0.360, "d")
    assert (row.null_permutation, row.null_untrained) == (pytest.approx(0.15), pytest.approx(0.6))


def test_weights_that_two_networks_have_in_common_are_told_tensor_by_tensor() -> None:
    expanded = expansion(models=["cbr-tiny"])
    done = jobs(expanded)
    for job in done:
        if job["labels"].get("pair") == "pretrained-pretrained":
            dead = {"layer": "conv2", "relative_l2": None, "cosine": None, "reason": "all weights are zero after"}
            job["result"]["weights"] = [{"layer": "conv1", "relative_l2": 0.1, "cosine": 0.9}, dead]
    made = build(expanded.spec.model_dump(mode="json"), done)
    found = rows(made, "similarity", measure="cosine")
    assert [(row.pair, row.layer, row.stage, row.value, row.n, row.reason) for row in found] == [
        ("pretrained-pretrained", "conv1", 1, 0.9, 1, None),
        ("pretrained-pretrained", "conv2", 2, None, 0, "all weights are zero after"),
    ]


def test_every_layer_is_compared_with_every_other_for_one_pair_of_each_kind() -> None:
    made = report(seeds=3, models=["cbr-tiny"])
    found = rows(made, "similarity", metric="layers")
    assert {(row.pair, row.seed) for row in found} == {
        (pair, 0) for pair in ("random-random", "pretrained-random", "mean_var-random")
    }
    values = {(row.layer, row.layer_b): row.value for row in found if row.pair == "random-random"}
    assert (len(values), values["stage1", "stage1"], values["stage1", "stage2"]) == (9, 0.9, 0.5)
    assert "layers" in made.sections["similarity"].charts


def test_figure_2_tests_networks_and_says_where_too_few_can_tell() -> None:
    def similar(job: dict[str, Any]) -> None:
        labels = job["labels"]
        if labels.get("role") == "similarity":
            across = labels["a"]["init"] != labels["b"]["init"]
            noise = 0.001 * (3 * labels["a"]["seed"] + labels["b"]["seed"])
            for found in job["result"]["results"]:
                found["value"] = (0.2 if across else 0.4) + noise

    expanded = expansion(seeds=4, models=["cbr-tiny"])
    done = jobs(expanded)
    for job in done:
        similar(job)
    made = build(expanded.spec.model_dump(mode="json"), done)
    words = {"layer": None, "measure": "cca"}
    (row,) = rows(made, "similarity", pair="pretrained-random", **words)
    assert (row.test, row.reason) == ("permutation", None)
    assert row.p_value is not None
    assert row.p_value <= 2 / 70 + 1e-9
    assert row.p_adjusted == pytest.approx(min(1, 6 * row.p_value)), "two inits by three measures, all alike"
    (alone,) = rows(made, "similarity", pair="random-random", **words)
    assert (alone.test, alone.p_value) == (None, None)
    (few,) = rows(report(), "similarity", model="cbr-tiny", pair="pretrained-random", **words)
    assert (few.test, few.reason) == ("permutation", "with 2 and 2 networks p cannot be below 0.17")
    (single,) = rows(report(seeds=1), "similarity", model="cbr-tiny", pair="pretrained-random", **words)
    assert single.p_value is None
    assert "two of the second" in (single.reason or "")


def test_figure_4_has_each_stage_and_the_difference_to_random() -> None:
    made = report()
    (kept,) = rows(made, "reuse", model="cbr-tiny", init="pretrained", layer="stage1", measure="cca", pair=None)
    (gain,) = rows(made, "reuse", model="cbr-tiny", layer="stage1", measure="cca", pair="pretrained-random")
    assert kept.value == pytest.approx(0.9)
    assert gain.value == pytest.approx(0.3)


def test_movement_has_weights_filters_and_representations() -> None:
    made = report()
    (moved,) = rows(made, "movement", model="cbr-tiny", init="random", layer="stage2", measure="relative_l2", step=None)
    (filters,) = rows(made, "movement", model="cbr-tiny", init="random", measure="filter_correlation")
    assert moved.value == pytest.approx(1.5)
    assert filters.value == pytest.approx(0.7)
    assert rows(made, "movement", model="cbr-tiny", init="random", layer="stage2", measure="cca")


def test_steps_to_threshold_are_the_first_evaluated_step_at_or_above_it() -> None:
    made = report()
    words: dict[str, Any] = {"model": "cbr-tiny", "metric": "steps_to_threshold", "seed": None}
    assert [row.value for row in rows(made, "convergence", **words)] == [40, 20, 40]


def test_an_arm_that_never_gets_there_is_censored_not_averaged() -> None:
    expanded = expansion()
    done = jobs(expanded)
    for job in done:
        if job["labels"].get("init") == "mean_var" and job["labels"].get("seed") == 1:
            job["result"]["series"][0]["values"] = [0.5, 0.5, 0.5, 0.5]
    made = build(expanded.spec.model_dump(mode="json"), done)
    (row,) = rows(made, "convergence", model="cbr-tiny", init="mean_var", metric="steps_to_threshold", seed=None)
    assert (row.value, row.reason, row.n) == (None, "not reached", 1)


def test_missing_cells_are_named_and_what_there_is_is_shown() -> None:
    made = report(failed=lambda labels: labels.get("seed") == 1 and labels.get("init") == "random")
    section = made.sections["performance"]
    assert not section.complete
    assert section.missing[0] == "cbr-tiny random, all images, seed 1 (failed: nan)"
    (row,) = rows(made, "performance", model="cbr-tiny", init="random", label=">=2", metric="auroc", pair=None)
    assert (row.n, row.sd, row.interval) == (1, None, None)


def test_a_study_of_which_nothing_is_left_says_so_and_still_draws() -> None:
    made = report(failed=bool)
    assert not any(section.complete for section in made.sections.values())
    assert all(row.reason for row in made.sections["performance"].table)
    assert {row.reason for row in made.sections["convergence"].table} == {
        "no threshold: random has no result above chance"
    }


def test_two_reports_with_the_same_numbers_have_the_same_digest() -> None:
    expanded = expansion()
    spec, done = expanded.spec.model_dump(mode="json"), jobs(expanded)
    first = build(spec, done, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert first.digest == build(spec, done).digest
    assert first.digest != report(seeds=1).digest
    assert first.created_at == "2026-01-01T00:00:00Z"


def test_refused_measures_keep_their_reason() -> None:
    expanded = expansion()
    done = jobs(expanded)
    for job in done:
        for found in (job["result"] or {}).get("results", []):
            if found["measure"] == "cca":
                found.update(value=None, reason="too few samples")
    made = build(expanded.spec.model_dump(mode="json"), done)
    (row,) = rows(made, "similarity", model="cbr-tiny", pair="random-random", measure="cca", layer=None)
    assert (row.value, row.reason) == (None, "too few samples")


def test_what_runs_needed_and_did_not_get_comes_first_among_what_is_missing() -> None:
    made = report(lambda labels: labels.get("role") in ("source", "cell") or labels.get("dataset") == "demo-natural@1")
    missing = made.sections["performance"].missing
    assert missing[:3] == [
        "dataset demo-natural@1 (failed: nan)",
        "pixels of demo-natural@1 (failed: nan)",
        "source run of cbr-tiny on demo-natural@1, seed 1000 (failed: nan)",
    ]
    assert made.sections["movement"].complete, "what is whole does not speak of it"


def test_a_section_without_anything_to_compare_is_not_called_complete() -> None:
    made = report(inits=["random"], models=["cbr-tiny"], seeds=1, sections=["similarity"]).sections["similarity"]
    assert not made.complete
    assert made.missing == ["a second network to compare with: two seeds, or random beside pretrained or mean_var"]
