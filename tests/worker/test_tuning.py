"""Learning rates found on validation, from the grid to the report."""

import json

import pytest

from transfusion_core.db import jobs, runs
from transfusion_core.db.scope import Scope
from transfusion_core.errors import DataError, Diverged
from transfusion_core.specs.job import TrainJob
from transfusion_core.specs.report import Report
from transfusion_core.specs.training import Metrics, TrainResult
from transfusion_core.specs.tuning import Trial, best
from transfusion_worker.assignment import Need
from transfusion_worker.jobs import train
from transfusion_worker.jobs.tuning import choose
from worker_study import study_of

TOO_HIGH = 100.0
BODY = {
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "seeds": 2,
    "train_sizes": [40, 20],
    "image_size": 24,
    "sections": ["performance"],
    "training": {
        "optimizer": "sgd",
        "lr": {"grid": [TOO_HIGH, 1e-8, 1e-10]},
        # at the highest rate each step multiplies the weights by a million, until they are not finite
        "weight_decay": 1e4,
        "momentum": 0.0,
        "steps": 8,
        "eval_every": 4,
        "batch_size": 8,
        "checkpoints": 0,
    },
}


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    with study_of(BODY, tmp_path_factory.mktemp("tuned")) as study:
        yield study


def trials_of(study):
    return [row for row in study.of_kind("train") if row.spec.get("tuning")]


def cells_of(study):
    return [row for row in study.of_kind("train") if not row.spec.get("tuning")]


def test_a_rate_that_diverges_fails_nothing_and_is_not_chosen(tuned):
    assert [row.error for row in tuned.rows] == [None] * len(tuned.rows)
    assert len(trials_of(tuned)) == 3
    (lost,) = [row for row in trials_of(tuned) if row.spec["training"]["lr"] == TOO_HIGH]
    assert list(lost.result) == ["diverged"]
    shown = runs.get(Scope(tuned.bench.engine), lost.id)
    assert (shown.lr, shown.state, shown.error) == (TOO_HIGH, "succeeded", lost.result["diverged"])
    assert "finite" in lost.result["diverged"]


def test_every_run_takes_the_rate_that_does_best_on_validation(tuned):
    trials = [Trial.of(row.spec["training"]["lr"], row.result) for row in trials_of(tuned)]
    for row in cells_of(tuned):
        manifest = row.result["manifest"]
        assert manifest["tuning"]["lr"] == manifest["spec"]["training"]["lr"] == best(trials).lr
        assert [Trial.model_validate(trial) for trial in manifest["tuning"]["trials"]] == trials


def test_the_run_that_was_tuned_is_not_done_again(tuned):
    trials = {row.result["checkpoints"][1]["key"] for row in trials_of(tuned) if "diverged" not in row.result}
    (same,) = [row for row in cells_of(tuned) if row.result["checkpoints"][1]["key"] in trials]
    assert (same.spec["train_size"], same.spec["seed"]) == (40, 0)
    told = {(p.name, p.split, p.step): p.value for p in jobs.points(tuned.bench.engine, same.id)}
    assert told == {
        (s["name"], s["split"], x): y
        for s in same.result["series"]
        for x, y in zip(s["steps"], s["values"], strict=True)
    }


def test_the_report_shows_the_rates_that_were_tried(tuned):
    (row,) = tuned.of_kind("report")
    section = Report.model_validate(json.loads(tuned.read(row.result["report"]))).sections["performance"]
    tried = [row for row in section.table if row.lr is not None]
    assert [(row.lr, row.metric) for row in tried] == [
        (lr, metric) for lr in (1e-10, 1e-8, TOO_HIGH) for metric in ("val_auroc", "val_loss")
    ]
    assert sum(row.chosen for row in tried) == 2
    assert all((row.value is None) == (row.lr == TOO_HIGH) == bool(row.reason) for row in tried)
    assert "it was chosen there" in section.text


RUN = TrainJob.model_validate(
    {
        "dataset": "d" * 64,
        "model": "cbr-tiny",
        "init": {"kind": "random"},
        "train_size": "all",
        "seed": 0,
        "image_size": 24,
        "training": {"lr": {"grid": [0.01, 0.1, 1.0]}},
        "tuned_by": ["1" * 64, "2" * 64, "3" * 64],
    }
)


def result(auroc, loss, reason=None):
    return TrainResult(
        metrics={"val": Metrics(auroc=auroc, loss=loss, reason=reason), "test": Metrics()},
        checkpoints=[],
        series=[],
        weight_report={"key": "w", "size_bytes": 1, "sha256": "0" * 64},
        manifest={},
        steps=1,
        images_per_second=1.0,
        parameters=1,
    ).model_dump(mode="json")


def chosen(make, *results):
    """What is chosen of the grid, given the results at its rates."""
    rates = RUN.training.lr.grid
    needs = [
        Need(id=key[0], key=key, kind="train", state="succeeded", spec=RUN.trial(lr).model_dump(mode="json"), result=r)
        for key, lr, r in zip(RUN.tuned_by, rates, results, strict=True)
    ]
    return choose(make(needs=needs), RUN).lr


@pytest.mark.parametrize(
    ("results", "lr"),
    [
        ((result(0.7, 0.2), result(0.9, 0.9), result(0.8, 0.1)), 0.1),
        ((result(0.9, 0.2), result(0.9, 0.1), result(0.8, 0.0)), 0.1),
        ((result(0.9, 0.1), result(0.9, 0.1), result(0.9, 0.1)), 0.01),
        ((result(None, 0.3), result(None, 0.2), result(None, 0.1)), 1.0),
        (({"diverged": "NaN"}, result(0.6, 0.9), {"diverged": "NaN"}), 0.1),
        ((result(None, None, "scores not finite"), {"diverged": "NaN"}, result(0.5, 1.0)), 1.0),
    ],
    ids=["auroc", "loss of equals", "lowest of equals", "loss alone", "the one left", "not finite"],
)
def test_the_best_rate_is_that_of_the_highest_auroc_then_of_the_lowest_loss(make, results, lr):
    assert chosen(make, *results) == lr


def test_a_run_whose_rates_all_diverge_says_so(make):
    with pytest.raises(Diverged, match=r"0\.01: NaN; 0\.1: NaN; 1: infinity"):
        chosen(make, {"diverged": "NaN"}, {"diverged": "NaN"}, {"diverged": "infinity"})


def test_rates_cannot_be_judged_without_validation_images(make):
    with pytest.raises(DataError, match="no image to judge by"):
        chosen(make, result(None, None), result(None, None), {"diverged": "NaN"})


def test_only_a_tuning_run_may_diverge(make, monkeypatch):
    def diverge(context, job):
        raise Diverged("NaN in step 3")

    monkeypatch.setattr(train, "_trained", diverge)
    assert train.run(make(spec=RUN.trial(0.1).model_dump(mode="json"))) == {"diverged": "NaN in step 3"}
    with pytest.raises(Diverged, match="step 3"):
        train.run(make(spec=RUN.at(0.1).model_copy(update={"tuned_by": []}).model_dump(mode="json")))
