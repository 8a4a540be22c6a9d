"""Scores of single images, from the run to the report."""

import json

import numpy as np
import pytest
import torch

from transfusion_core.errors import DataError
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.training.metrics import evaluate_scores
from transfusion_core.specs.training import TrainResult
from transfusion_worker.assignment import Need
from transfusion_worker.jobs.predictions import put_predictions, read_predictions
from transfusion_worker.jobs.report import _job as job_for_report


def _pack(patients: torch.Tensor | None = None) -> Annotations:
    return Annotations(
        labels=torch.tensor([0, 1, 2, 0, 1, 2, 2, 0]),
        split=torch.tensor([0, 1, 2, 2, 2, 2, 2, 2], dtype=torch.uint8),
        names=[str(place) for place in range(8)],
        task="ordinal",
        classes=["0", "1", "2"],
        places=torch.arange(8),
        patients=patients,
    )


LOGITS = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def test_scores_truth_and_patients_come_back_in_the_order_of_the_test_split(make):
    context, pack = make(), _pack(torch.tensor([9, 9, 4, 4, 5, 5, 6, 7]))
    found = read_predictions(context, put_predictions(context, pack, LOGITS))
    assert found.labels == [">=1", ">=2"]
    assert found.truth.T.tolist() == [[1, 0, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0]]
    assert found.patients.tolist() == [4, 4, 5, 5, 6, 7]
    probability = LOGITS.double().softmax(1)[:, 2].numpy()
    assert found.scores[:, 1] == pytest.approx(np.log(probability / (1 - probability)))
    assert not found.broken


def test_patients_that_are_not_known_are_none_and_a_file_of_something_else_is_refused(make):
    context = make()
    assert read_predictions(context, put_predictions(context, _pack(), LOGITS)).patients is None
    for place, rubbish in enumerate((b"rubbish", b"\x02\0\0\0\0\0\0\0{}")):
        with pytest.raises(DataError, match=r"expected the scores of a run at a/., got"):
            read_predictions(context, context.store.put_bytes(f"a/{place}", rubbish))


def test_the_report_is_given_the_scores_of_cells_alone_and_none_of_old_runs(make):
    context = make()
    stored = put_predictions(context, _pack(), LOGITS).model_dump()

    def told(role: str, result) -> dict:
        need = Need(id="3", key="k", kind="train", state="succeeded", spec={}, result=result)
        return job_for_report(context, {"kind": "train", "key": "k", "labels": {"role": role}}, need)

    assert told("cell", {"predictions": stored})["predictions"].scores.shape == (6, 2)
    assert told("cell", {"predictions": None})["predictions"] is None
    assert told("cell", {})["predictions"] is None
    assert "predictions" not in told("source", {"predictions": stored})


def test_scores_give_the_metrics_that_the_run_has(make):
    context, pack = make(), _pack()
    found = read_predictions(context, put_predictions(context, pack, LOGITS))
    labels = pack.labels[pack.indices("test")]
    metrics = evaluate_scores("ordinal", LOGITS, labels, classes=pack.classes)
    truth = found.truth[:, 1] == 1
    wins = np.sign(found.scores[truth, 1][:, None] - found.scores[~truth, 1][None]) / 2 + 0.5
    assert metrics.auroc == pytest.approx(wins.mean())


def test_results_of_older_runs_are_read():
    old = {
        "metrics": {}, "checkpoints": [], "series": [], "manifest": {}, "steps": 1, "images_per_second": 1.0,
        "weight_report": {"key": "k", "size_bytes": 1, "sha256": "0" * 64}, "parameters": 1,
    }  # fmt: skip
    assert TrainResult.model_validate_json(json.dumps(old)).predictions is None
