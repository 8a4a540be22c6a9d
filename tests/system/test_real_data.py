"""Real retina and chest images from registration to report, and that training on them learns something."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from platforms import DATA, TINY, Platform, embedded, report_by_cli, report_by_curl
from transfusion_client import Client

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data: {DATA} is not there (TRANSFUSION_TEST_DATA)"),
]

IDRID = {
    "kind": "csv",
    "task": "ordinal",
    "columns": {"file": "file", "label": "dr_grade", "split": "split"},
    "location": f"file://{DATA / 'idrid'}",
}
SETS: dict[str, dict[str, Any]] = {
    "idrid": IDRID,
    "retinamnist": {"kind": "npz", "task": "ordinal", "location": f"file://{DATA / 'retinamnist.npz'}"},
    "nih": {"kind": "folder", "task": "multiclass", "location": f"file://{DATA / 'nih1000' / 'nih1000_64.zip'}"},
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    """One platform for the tests of this file."""
    with TemporaryDirectory() as folder, embedded(Path(folder)) as running:
        yield running


@pytest.mark.parametrize("name", SETS)
def test_real_images_give_the_same_whole_report_by_client_curl_and_command_line(platform: Platform, name: str) -> None:
    with Client(platform.url) as client:
        dataset = client.datasets.wait(client.datasets.add(name, SETS[name]).name, timeout_seconds=120)
        assert dataset.state == "succeeded", dataset.faults
        spec = {**TINY, "dataset": dataset.name}
        experiment = client.experiments.create(spec).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        report = experiment.report()
        assert all(section.complete for section in report.sections.values())
    assert report_by_curl(platform, spec)["digest"] == report_by_cli(platform, spec)["digest"] == report.digest


def test_training_on_real_retinas_beats_logistic_regression_on_their_pixels(platform: Platform) -> None:
    spec = {
        "name": "learns",
        "dataset": "retinamnist@1",
        "models": ["cbr-tiny"],
        "seeds": 1,
        "image_size": 28,
        "training": {"steps": 200, "eval_every": 50, "checkpoints": 0},
        "sections": ["performance"],
    }
    with Client(platform.url) as client:
        experiment = client.experiments.create(spec).wait(progress=False, timeout_seconds=240)
        (row,) = [
            row
            for row in experiment.report().sections["performance"].table
            if (row.label, row.metric, row.pair) == (">=2", "auroc", None)
        ]
    assert row.value is not None
    assert row.value > _logistic_regression_on_pixels()


def _logistic_regression_on_pixels() -> float:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    data = np.load(DATA / "retinamnist.npz")
    x, y = {}, {}
    for split in ("train", "test"):
        x[split] = data[f"{split}_images"].reshape(len(data[f"{split}_images"]), -1) / 255.0
        y[split] = data[f"{split}_labels"].ravel() >= 2
    scaled = (x["train"] - x["train"].mean(0)) / (x["train"].std(0) + 1e-6)
    held_out = (x["test"] - x["train"].mean(0)) / (x["train"].std(0) + 1e-6)
    fitted = LogisticRegression(C=1e-3, max_iter=2000).fit(scaled, y["train"])
    return float(roc_auc_score(y["test"], fitted.decision_function(held_out)))
