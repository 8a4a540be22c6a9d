"""The section `robustness` on made-up results whose right answers are known."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.pictures import svg
from transfusion_core.reporting.reuse_share import ratio_of_means
from transfusion_core.specs.report import ReportSection, Row

Change = Callable[[list[dict[str, Any]]], object]


def section(failed: Any = lambda labels: False, change: Change = len, **changes: Any) -> ReportSection:
    """The section of the example experiment, changed, with its jobs' results changed."""
    expanded = expansion(sections=["robustness"], **changes)
    done = jobs(expanded, failed=failed)
    change(done)
    made = build(expanded.spec.model_dump(mode="json"), done)
    json.dumps(made.model_dump(mode="json"), allow_nan=False)
    return made.sections["robustness"]


def rows(made: ReportSection, **words: Any) -> list[Row]:
    """The rows that have these words."""
    return [row for row in made.table if all(getattr(row, k) == v for k, v in words.items())]


ARM = {"model": "cbr-tiny", "init": "pretrained"}


def test_the_drop_of_each_stage_is_the_trained_auroc_minus_what_is_left() -> None:
    made = section()
    assert made.complete
    drops = {row.layer: row for row in rows(made, **ARM, measure="reinit", metric="auroc_drop")}
    assert [(layer, row.stage, row.n) for layer, row in drops.items()] == [
        ("stage1", 1, 2),
        ("stage2", 2, 2),
        ("stage3", 3, 2),
    ]
    assert [row.value for row in drops.values()] == pytest.approx([0.1, 0.2, 0])
    assert drops["stage2"].interval == pytest.approx([0.2, 0.2])
    (fresh,) = rows(made, **ARM, measure="rerand", layer="stage2")
    assert fresh.value == pytest.approx(0.3)


def test_probes_are_aurocs_with_their_spread_over_seeds() -> None:
    made = section()
    (row,) = rows(made, **ARM, measure="linear_probe", layer="stage1")
    assert (row.metric, row.value, row.sd) == ("auroc", pytest.approx(0.765), pytest.approx(0.01 / 2**0.5))
    (row,) = rows(made, **ARM, measure="knn", layer="stage1")
    assert row.value == pytest.approx(0.735)


def test_shuffled_blocks_are_told_by_their_number_as_auroc_and_as_loss() -> None:
    made = section()
    left = rows(made, **ARM, measure="block_shuffle", metric="auroc")
    lost = rows(made, **ARM, measure="block_shuffle", metric="auroc_drop")
    assert [row.blocks for row in left] == [row.blocks for row in lost] == [1, 2, 4, 8, 16]
    assert [row.value for row in lost] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
    assert {(row.layer, row.stage, row.step) for row in left} == {(None, None, None)}


def test_barriers_are_means_over_the_lines_of_a_pair_of_arms() -> None:
    made = section(seeds=3)
    found = {(row.pair, row.measure): row for row in rows(made, model="cbr-tiny", metric=None) if row.pair}
    assert found["pretrained-pretrained", "loss_barrier"].value == 0
    assert (found["pretrained-pretrained", "loss_barrier"].n, found["pretrained-random", "loss_barrier"].n) == (2, 3)
    assert found["pretrained-random", "auroc_barrier"].value == pytest.approx(0.1)


def test_the_reuse_share_is_what_mean_var_does_not_give_of_the_gain() -> None:
    (row,) = rows(section(), model="cbr-tiny", measure="reuse_share")
    assert (row.pair, row.source, row.n) == ("pretrained-mean_var", "natural", 2)
    assert row.value == pytest.approx((0.06 - 0.02) / 0.06)
    assert row.interval == pytest.approx([2 / 3, 2 / 3], abs=1e-6)


def shifted(init: str, by: float) -> Change:
    """Add to the AUROC of an arm's runs."""

    def change(done: list[dict[str, Any]]) -> None:
        for job in done:
            if job["kind"] == "train" and job["labels"].get("init") == init and job["labels"]["role"] == "cell":
                job["result"]["metrics"]["test"]["auroc"] += by

    return change


def test_transfer_that_gains_nothing_has_no_share() -> None:
    (row,) = rows(section(change=shifted("pretrained", -0.1)), model="cbr-tiny", measure="reuse_share")
    assert (row.value, row.reason) == (None, "full transfer gains nothing over random here: -0.0400 AUROC")


@pytest.mark.parametrize("inits", [["random"], ["random", {"kind": "pretrained", "source": "natural"}]])
def test_a_share_of_arms_that_are_missing_says_which_it_needs(inits: list[Any]) -> None:
    (row,) = rows(section(inits=inits), model="cbr-tiny", measure="reuse_share")
    assert row.value is None
    assert row.reason == "needs pretrained, mean_var of its source and random at the same seeds"


def test_one_seed_has_a_share_without_an_interval() -> None:
    (row,) = rows(section(seeds=1), model="cbr-tiny", measure="reuse_share")
    assert (row.value, row.interval, row.n) == (pytest.approx(2 / 3), None, 1)


def test_a_gain_that_cannot_be_told_from_0_has_no_interval() -> None:
    assert ratio_of_means([0.01, 0.02, -0.01], [0.05, -0.04, 0.02]).interval is None


def test_fiellers_interval_covers_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0)
    hits = []
    for _ in range(1000):
        below = draw.normal(1.0, 0.2, 5)
        above = 0.5 * below + draw.normal(0, 0.1, 5)
        interval = ratio_of_means(above, below).interval
        hits.append(interval is None or interval[0] <= 0.5 <= interval[1])
    assert 0.93 <= np.mean(hits) <= 0.97


def test_jobs_that_are_missing_are_named_and_the_rest_is_shown() -> None:
    made = section(failed=lambda labels: labels.get("role") in ("probe", "barrier") and labels["model"] == "cbr-tiny")
    assert not made.complete
    assert made.missing[0] == "probe of cbr-tiny random, all images, seed 0 (failed: nan)"
    assert "line, cbr-tiny, all images: pretrained seed 0 to random seed 0 (failed: nan)" in made.missing
    (row,) = rows(made, model="cbr-tiny", init="random", metric="auroc_drop")
    assert (row.value, row.reason) == (None, "no probe of this arm has ended well")
    (row,) = rows(made, model="cbr-tiny", pair="random-random", measure="loss_barrier")
    assert row.reason == "no line of this pair has ended well"
    assert rows(made, model="resnet18", measure="knn", layer="stage1", init="random")[0].n == 2


def test_scores_without_a_number_keep_their_reason() -> None:
    def change(done: list[dict[str, Any]]) -> None:
        for job in done:
            if job["kind"] == "probe":
                job["result"]["auroc"] = None
                job["result"]["scores"][0] |= {"auroc": None, "reason": "never positive"}
            if job["kind"] == "barrier":
                job["result"]["loss"] = {"value": None, "reason": "no loss at 0.50 of the way: scores not finite"}

    made = section(change=change)
    found = {row.layer: row for row in rows(made, **ARM, measure="reinit")}
    assert (found["stage1"].value, found["stage1"].reason) == (None, "never positive")
    assert found["stage2"].reason == "the trained network has no AUROC"
    assert rows(made, **ARM, measure="knn", layer="stage1")[0].value is not None
    assert rows(made, **ARM, measure="loss_barrier")[0].reason == "no loss at 0.50 of the way: scores not finite"


def test_every_chart_draws_also_when_nothing_is_left() -> None:
    for made in (section(), section(failed=bool)):
        assert list(made.charts) == ["robustness-drop", "robustness-probes", "robustness-blocks"]
        assert all(svg(chart).startswith("<svg") for chart in made.charts.values())
