"""Intervals over patients: against sklearn draw by draw, in simulated studies, and where they do not exist."""

import time

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.metrics import roc_auc_score

from transfusion_core.reporting.statistics import bootstrap_auc, delong, drawn_aucs, draws_of, percentiles


def test_every_draw_is_the_area_of_the_images_that_were_drawn() -> None:
    generator = np.random.default_rng(0)
    scores, truth = generator.integers(0, 9, 60).astype(float), generator.random(60) < 0.3
    counts = draws_of(60, generator.integers(0, 20, 60), draws=70, seed=1)
    found = drawn_aucs(scores, truth, counts)
    for draw in range(70):
        drawn = np.repeat(np.arange(60), counts[:, draw])
        assert found[draw] == pytest.approx(roc_auc_score(truth[drawn], scores[drawn]))


def test_a_patient_is_drawn_with_all_images_and_as_many_patients_as_there_are() -> None:
    patients = np.array([7, 7, 3, 9, 9, 9])
    counts = draws_of(6, patients, draws=50)
    assert (counts[0] == counts[1]).all()
    assert (counts[3] == counts[5]).all()
    assert (counts[[0, 2, 3]].sum(axis=0) == 3).all()
    assert (draws_of(6, draws=50).sum(axis=0) == 6).all()
    assert (draws_of(6, patients, draws=50) == counts).all(), "the same seed gives the same draws"


def test_without_clusters_it_agrees_with_delong() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random(800) < 0.4
    scores = generator.normal(size=800) + 1.2 * truth
    found, expected = bootstrap_auc([scores], truth), delong(scores, truth)
    assert found.interval == pytest.approx(expected.interval, abs=0.004)


def test_a_patients_images_that_are_copies_add_nothing() -> None:
    generator = np.random.default_rng(2)
    truth = np.arange(100) < 40
    scores = generator.normal(size=100) + truth
    once = bootstrap_auc([scores], truth, np.arange(100))
    thrice = bootstrap_auc([np.repeat(scores, 3)], np.repeat(truth, 3), np.repeat(np.arange(100), 3))
    assert thrice.interval == pytest.approx(once.interval)


def test_it_covers_the_true_area_of_patients_with_several_images_where_images_alone_would_not() -> None:
    generator = np.random.default_rng(6)
    patients, truth = np.repeat(np.arange(120), 4), np.repeat(np.arange(120) < 50, 4)
    area, covered = float(ndtr(1.5 / (2 * 2) ** 0.5)), {"patients": 0, "images": 0}
    for study in range(1000):
        scores = np.repeat(generator.normal(size=120), 4) + generator.normal(size=480) + 1.5 * truth
        for unit, clusters in (("patients", patients), ("images", None)):
            if unit == "images" and study >= 200:
                continue
            found = bootstrap_auc([scores], truth, clusters, draws=200, seed=study)
            assert found.interval is not None
            covered[unit] += found.interval[0] <= area <= found.interval[1]
    assert 930 <= covered["patients"] <= 970
    assert covered["images"] < 180


def test_the_mean_over_networks_is_drawn_on_the_same_patients() -> None:
    generator = np.random.default_rng(7)
    truth = np.arange(200) < 90
    scores = generator.normal(size=200) + truth
    assert bootstrap_auc([scores, scores], truth).interval == pytest.approx(bootstrap_auc([scores], truth).interval)


def test_too_many_draws_of_one_class_leave_no_interval() -> None:
    found = bootstrap_auc([np.arange(10.0)], np.arange(10) == 3)
    assert found.interval is None
    assert "draws hold one class only" in (found.reason or "")
    assert percentiles(np.full(10, 0.8)).interval == [0.8, 0.8]


def test_a_thousand_draws_of_ten_thousand_images_take_a_second_or_two() -> None:
    generator = np.random.default_rng(8)
    truth = generator.random(10_000) < 0.5
    scores = generator.normal(size=10_000) + truth
    counts = draws_of(10_000)
    started = time.process_time()
    drawn_aucs(scores, truth, counts)
    assert time.process_time() - started < 4
