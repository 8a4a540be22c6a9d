"""Convergence where runs do not get there: bounds instead of numbers, and tests that count every run."""

import math
from typing import Any

import pytest

from studies import expansion, jobs
from transfusion_core.reporting.build import build
from transfusion_core.reporting.statistics import holm, log_rank
from transfusion_core.reporting.statistics.survival import Waited
from transfusion_core.specs.report import Row

FAST, SLOW, NEVER, AT_ONCE = (
    [0.5, 0.8, 0.8, 0.8], [0.5, 0.6, 0.8, 0.8], [0.5, 0.5, 0.5, 0.5], [0.79, 0.8, 0.8, 0.8],
)  # fmt: skip
"""Curves at steps 0, 20, 40, 60: reaching a threshold of 0.77 after 20, 40, none, and before the first."""


def table(curves: dict[str, list[list[float]]], failed: Any = lambda labels: False) -> list[Row]:
    """The convergence table of cbr-tiny with these curves per init and seed."""
    expanded = expansion(models=["cbr-tiny"], sections=["convergence"], seeds=len(curves["random"]))
    done = jobs(expanded, failed=failed)
    for job in done:
        labels = job["labels"]
        if labels.get("role") == "cell" and job["result"] and labels["init"] in curves:
            job["result"]["series"][0]["values"] = curves[labels["init"]][labels["seed"]]
    return build(expanded.spec.model_dump(mode="json"), done).sections["convergence"].table


def one(rows: list[Row], **words: Any) -> Row:
    (row,) = [row for row in rows if row.seed is None and all(getattr(row, k) == v for k, v in words.items())]
    return row


def test_the_speed_up_is_over_the_same_seeds_with_a_log_rank_test_over_all() -> None:
    rows = table({"pretrained": [FAST, SLOW, FAST], "random": [SLOW, SLOW, SLOW]})
    row = one(rows, metric="speed_up", init="pretrained")
    assert (row.pair, row.n, row.test) == ("pretrained-random", 3, "log-rank")
    assert row.value == pytest.approx(2 ** (2 / 3))
    assert row.interval is not None
    assert row.interval[0] < row.value < row.interval[1]
    fast, slow = Waited(20, True), Waited(40, True)
    assert row.p_value == pytest.approx(log_rank([fast, slow, fast], [slow] * 3))
    tested = [row for row in rows if row.test == "log-rank"]
    assert [row.p_adjusted for row in tested] == holm([row.p_value for row in tested])


def test_the_restricted_mean_counts_runs_that_never_got_there_and_steps_stay_not_reached() -> None:
    rows = table({"pretrained": [FAST, NEVER, FAST], "random": [SLOW, SLOW, SLOW]})
    row = one(rows, metric="restricted_mean_steps", init="pretrained")
    assert (row.value, row.n) == (pytest.approx((20 + 60 + 20) / 3), 3)
    assert row.interval is not None
    assert one(rows, metric="steps_to_threshold", init="pretrained").reason == "not reached"
    assert one(rows, metric="speed_up", init="pretrained").reason == (
        "at most 1.39: a run of this arm did not reach it"
    )


def test_an_arm_of_which_no_run_got_there_has_no_number() -> None:
    rows = table({"pretrained": [NEVER, NEVER], "random": [SLOW, SLOW]})
    row = one(rows, metric="restricted_mean_steps", init="pretrained")
    assert (row.value, row.interval, row.reason) == (None, None, "not reached")
    assert one(rows, metric="area_under_curve", init="pretrained", pair=None).value == pytest.approx(0.5)


def test_random_that_does_not_get_there_leaves_a_lower_bound_and_both_leave_none() -> None:
    rows = table({"pretrained": [FAST, FAST], "random": [[0.5, 0.6, 0.8, 0.8], [0.5, 0.6, 0.7, 0.7]]})
    assert (one(rows, metric="speed_up", init="pretrained").reason or "").startswith("at least 2.45")
    rows = table({"pretrained": [FAST, NEVER], "random": [[0.5, 0.6, 0.8, 0.8], [0.5, 0.6, 0.7, 0.7]]})
    assert (one(rows, metric="speed_up", init="pretrained").reason or "").startswith("no bound")
    rows = table({"pretrained": [AT_ONCE, AT_ONCE], "random": [SLOW, SLOW]})
    assert (one(rows, metric="speed_up", init="pretrained").reason or "").startswith("at least 2:")


def test_areas_are_compared_at_the_same_seeds() -> None:
    rows = table({"pretrained": [FAST, SLOW], "random": [SLOW, SLOW]})
    arm, pair = (one(rows, metric="area_under_curve", init="pretrained", pair=p) for p in (None, "pretrained-random"))
    areas = [(0.65 + 0.8 + 0.8) / 3, (0.55 + 0.7 + 0.8) / 3]
    assert arm.value == pytest.approx(sum(areas) / 2)
    assert (pair.value, pair.n, pair.test) == (pytest.approx((areas[0] - areas[1]) / 2), 2, "paired t")


def test_curves_with_gaps_have_no_area_and_one_seed_no_test() -> None:
    rows = table({"pretrained": [[None, *FAST[1:]]], "random": [SLOW]})  # type: ignore[list-item]
    row = one(rows, metric="area_under_curve", init="pretrained")
    assert (row.value, row.reason) == (None, "no curve without gaps over several steps")
    mean_var = one(rows, metric="area_under_curve", init="mean_var", pair="mean_var-random")
    assert (mean_var.test, mean_var.interval, mean_var.n) == (None, None, 1)
    assert one(rows, metric="speed_up", init="pretrained").interval is None


def test_without_random_there_is_no_threshold_and_nothing_made_up() -> None:
    rows = table({"random": [SLOW, SLOW]}, failed=lambda labels: labels.get("init") == "random")
    assert {row.metric for row in rows if row.reason is None} == {"area_under_curve", "auroc"}
    assert all(row.value is None or math.isfinite(row.value) for row in rows)
