"""DeLong's variance against the worked example of the paper, against its definition, and in simulated studies."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr

from transfusion_core.reporting.statistics import delong, paired_delong

OVARIAN = """
3.0 5.8 10 0  3.2 6.3  5 1  3.9 6.8  3 1  2.8 4.8  6 0  3.2 5.8  3 1  0.9 4.0  5 0  2.5 5.7  8 0  1.6 5.6  5 1
3.8 5.7  5 1  3.7 6.7  6 1  3.2 5.4  4 1  3.8 6.6  6 1  4.1 6.6  5 1  3.6 5.7  5 1  4.3 7.0  4 1  3.6 6.7  4 0
2.3 4.4  6 1  4.2 7.6  4 0  4.0 6.6  6 0  3.5 5.8  6 1  3.8 6.8  7 1  3.0 4.7  8 0  4.5 7.4  5 1  3.7 7.4  5 1
3.1 6.6  6 1  4.1 8.2  6 1  4.3 7.0  5 1  4.3 6.5  4 1  3.2 5.1  5 1  2.6 4.7  6 1  3.3 6.8  6 0  1.7 4.0  7 0
3.7 6.1  5 1  3.3 6.3  7 1  4.2 7.7  6 1  3.5 6.2  5 1  2.9 5.7  9 0  2.1 4.8  7 1  2.8 6.2  8 0  4.0 7.0  7 1
3.3 5.7  6 1  3.7 6.9  5 1  3.6 6.6  5 1
"""
"""Albumin, total protein, K-G score and outcome of 43 patients: the example of DeLong et al. 1988, as SAS prints it
(PROC LOGISTIC, "Comparing Receiver Operating Characteristic Curves"), whose output the numbers below are."""


def _ovarian() -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    table = np.array(OVARIAN.split(), float).reshape(-1, 4)
    return {"alb": table[:, 0], "tp": table[:, 1], "kg": -table[:, 2]}, table[:, 3] == 1


@pytest.mark.parametrize(
    ("name", "area", "error"), [("alb", 0.7366, 0.0927), ("tp", 0.6478, 0.1), ("kg", 0.7258, 0.1028)]
)
def test_one_area_is_that_of_the_published_example(name: str, area: float, error: float) -> None:
    scores, truth = _ovarian()
    found = delong(scores[name], truth)
    assert found.auroc == pytest.approx(area, abs=5e-5)
    assert found.variance is not None
    assert found.variance**0.5 == pytest.approx(error, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "delta", "error", "p"), [("alb", 0.0108, 0.0953, 0.9102), ("tp", -0.0780, 0.1046, 0.4561)]
)
def test_the_difference_of_two_areas_is_that_of_the_published_example(
    name: str, delta: float, error: float, p: float
) -> None:
    scores, truth = _ovarian()
    found = paired_delong(scores[name], scores["kg"], truth)
    assert found.delta == pytest.approx(delta, abs=5e-5)
    assert found.variance is not None
    assert found.variance**0.5 == pytest.approx(error, abs=5e-5)
    assert found.p_value == pytest.approx(p, abs=5e-5)


def test_the_variance_is_that_of_the_definition_under_ties() -> None:
    generator = np.random.default_rng(3)
    scores, truth = generator.integers(0, 6, 40).astype(float), generator.random(40) < 0.4
    wins = np.sign(scores[truth][:, None] - scores[~truth][None]) / 2 + 0.5  # (positives, negatives)
    found = delong(scores, truth)
    assert found.auroc == pytest.approx(wins.mean())
    by_definition = wins.mean(1).var(ddof=1) / truth.sum() + wins.mean(0).var(ddof=1) / (~truth).sum()
    assert found.variance == pytest.approx(by_definition)
    assert found.interval is not None
    assert 0 < found.interval[0] < found.auroc < found.interval[1] < 1


def test_the_interval_covers_the_true_area_in_95_of_100_studies() -> None:
    generator = np.random.default_rng(4)
    truth, separation = np.arange(120) < 45, 1.2
    area = float(ndtr(separation / 2**0.5))
    intervals = [delong(generator.normal(size=120) + separation * truth, truth).interval for _ in range(1000)]
    covered = np.mean([low <= area <= high for low, high in intervals])  # type: ignore[misc]
    assert 0.93 <= covered <= 0.97


def test_the_paired_test_keeps_its_level() -> None:
    generator = np.random.default_rng(5)
    truth = np.arange(100) < 50
    rejected = []
    for _ in range(1000):
        shared = generator.normal(size=100) + truth
        found = paired_delong(shared + generator.normal(size=100), shared + generator.normal(size=100), truth)
        rejected.append(found.p_value is not None and found.p_value < 0.05)
    assert 0.03 <= np.mean(rejected) <= 0.07


@pytest.mark.parametrize(
    ("scores", "truth", "auroc", "reason"),
    [
        ([], [], None, "no labels"),
        ([0.1, 0.2], [False, False], None, "never positive"),
        ([0.1, 0.2], [True, True], None, "always positive"),
        ([0.1, 0.2, 0.3], [False, True, True], 1.0, "two positives and two negatives"),
        ([0.1, 0.2, 0.3, 0.4], [False, False, True, True], 1.0, "no variance"),
        ([0.5, 0.5, 0.5, 0.5], [False, False, True, True], 0.5, "no variance"),
    ],
)
def test_where_there_is_no_interval_it_says_why(
    scores: list[float], truth: list[bool], auroc: float | None, reason: str
) -> None:
    numbers, positive = np.array(scores, float), np.array(truth, bool)
    found, paired = delong(numbers, positive), paired_delong(numbers, numbers, positive)
    assert (found.auroc, found.variance, found.interval) == (auroc, None, None)
    assert reason in (found.reason or "")
    assert (paired.delta, paired.p_value) == (None if auroc is None else 0.0, None)
    assert reason in (paired.reason or "")
