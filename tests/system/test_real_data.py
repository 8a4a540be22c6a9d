"""Real retina and chest images from registration to report, and that training on them learns something."""

import csv
import hashlib
import shutil
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from platforms import DATA, SOAK, TINY, Platform, embedded, report_by_cli, report_by_curl
from transfusion_client import Client
from transfusion_core.specs.manifest import read_manifest

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


@pytest.mark.parametrize("name", SETS if SOAK else ["retinamnist"])
def test_real_images_give_the_same_whole_report_by_client_curl_and_command_line(platform: Platform, name: str) -> None:
    with Client(platform.url) as client:
        dataset = client.datasets.wait(client.datasets.add(name, SETS[name]).name, timeout_seconds=120)
        assert dataset.state == "succeeded", dataset.faults
        spec = {**TINY, "dataset": dataset.name, "seeds": 2 if SOAK else 1}
        experiment = client.experiments.create(spec).wait(progress=False, timeout_seconds=240)
        assert experiment.state == "succeeded", experiment.counts
        report = experiment.report()
        assert all(section.complete for section in report.sections.values())
    assert report_by_curl(platform, spec)["digest"] == report_by_cli(platform, spec)["digest"] == report.digest


NATURAL = {"kind": "folder", "task": "multiclass", "location": f"file://{DATA / 'natural' / 'tiny_imagenet_20k.zip'}"}


def _tenth(spec: dict[str, Any], archive: Path) -> dict[str, Any]:
    """The set of every tenth image of each class of each split: files lie class by class, by tens."""
    with zipfile.ZipFile(DATA / "natural" / "tiny_imagenet_20k.zip") as whole, zipfile.ZipFile(archive, "w") as part:
        images = [name for name in whole.namelist() if name.endswith(".JPEG")]
        for name in images[::10]:
            part.writestr(name, whole.read(name))
    return {**spec, "location": archive.as_uri()}


@pytest.mark.parametrize(
    ("name", "spec", "images"),
    [
        ("looked-idrid", IDRID, 516),
        ("looked-retinamnist", SETS["retinamnist"], 1600),
        ("looked-nih", SETS["nih"], 1000),
        ("looked-natural", NATURAL, 22000 if SOAK else 2200),
    ],
)
def test_real_sets_have_a_manifest_and_a_profile(
    platform: Platform, tmp_path: Path, name: str, spec: dict[str, Any], images: int
) -> None:
    """The short form looks at a tenth of the natural images."""
    if spec is NATURAL and not SOAK:
        spec = _tenth(spec, tmp_path / "tenth.zip")
    with Client(platform.url) as client:
        dataset = client.datasets.wait(client.datasets.add(name, spec).name, timeout_seconds=500)
        assert (dataset.state, dataset.images) == ("succeeded", images), dataset.error
        rows = list(read_manifest([client.datasets.manifest(name, tmp_path / "m.csv").read_bytes()]))
        assert Counter(row.split for row in rows) == dataset.splits
        assert [row.sha256 for row in rows] == sorted(row.sha256 for row in rows)
        if spec is IDRID:
            with zipfile.ZipFile(DATA / "idrid" / "images_640.zip") as archive:
                for row in rows[::50]:
                    assert hashlib.sha256(archive.read(row.file)).hexdigest() == row.sha256
        profile = client.datasets.profile(name, timeout_seconds=500)
        assert all(0 < each.mean < 1 and each.std > 0 for each in profile.intensities)
        assert all(sum(each.histogram) == pytest.approx(1) for each in profile.intensities)
        assert {each.kind for each in profile.found} == {"exact", "near", "patient"}


def test_real_retinas_are_extended_and_versions_are_held_against_each_other(platform: Platform, tmp_path: Path) -> None:
    with (DATA / "idrid" / "labels.csv").open(newline="") as file:
        header, *rows = list(csv.reader(file))
    parts = {"first": rows[:400], "second": rows[400:]}
    with zipfile.ZipFile(DATA / "idrid" / "images_640.zip") as archive:
        for part, its in parts.items():
            (tmp_path / part).mkdir()
            for row in its:
                (tmp_path / part / Path(row[header.index("file")]).name).write_bytes(
                    archive.read(row[header.index("file")])
                )
            with (tmp_path / part / "labels.csv").open("w", newline="") as file:
                csv.writer(file).writerows(
                    [
                        header,
                        *(
                            [Path(cell).name if n == header.index("file") else cell for n, cell in enumerate(row)]
                            for row in its
                        ),
                    ]
                )
    drawn = {**IDRID, "columns": {"file": "file", "label": "dr_grade"}}
    with Client(platform.url) as client:
        client.datasets.add("grown", {**drawn, "location": (tmp_path / "first").as_uri()})
        second = {**drawn, "location": (tmp_path / "second").as_uri(), "extends": "grown@1"}
        grown = client.datasets.wait(client.datasets.add("grown", second).name, timeout_seconds=300)
        assert (grown.name, grown.parent, grown.state, grown.images) == ("grown@2", "grown@1", "succeeded", 515)
        diff = client.datasets.diff("grown@2")
        # As published, one photograph is there twice, to the byte: the new copy stands in the place of the old one.
        assert diff.unchanged + diff.relabelled.count == 400
        assert (diff.added.count, diff.removed.count, diff.moved.count) == (115, 0, 0)
        client.datasets.wait(client.datasets.add("given", IDRID).name, timeout_seconds=300)
        other = client.datasets.diff("grown@2", "given@1")
        assert (other.added.count, other.removed.count, other.relabelled.count) == (0, 1, 0)
        assert other.moved.count + other.unchanged == 515
        assert other.moved.count > 50


BROKEN_DICOM = {"MR_truncated", "JPGExtended", "no_meta", "meta_missing_tsyntax", "badVR"}


def test_real_dicom_files_are_taken_or_named_with_what_is_wrong(platform: Platform, tmp_path: Path) -> None:
    folder = tmp_path / "dicom"
    shutil.copytree(DATA / "dicom", folder)
    files = sorted(folder.glob("*.dcm"))
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [f"{path.name},{n % 2},{splits[n % 6]}" for n, path in enumerate(files)]
    (folder / "labels.csv").write_text("\n".join(["file,label,split", *rows]))
    spec = {"kind": "csv", "location": folder.as_uri(), "columns": {"split": "split"}, "skip_unreadable": True}
    with Client(platform.url) as client:
        dataset = client.datasets.wait(client.datasets.add("dicom", spec).name, timeout_seconds=120)
        assert dataset.state == "succeeded", dataset.error
        assert {Path(fault.file).stem for fault in dataset.faults} >= BROKEN_DICOM & {path.stem for path in files}
        assert all(fault.message and fault.row for fault in dataset.faults)
        assert dataset.images == len(files) - len(dataset.faults)
        assert client.datasets.profile("dicom", timeout_seconds=120).intensities


def test_training_on_real_retinas_beats_logistic_regression_on_their_pixels(platform: Platform) -> None:
    spec = {
        "name": "learns",
        "dataset": "retinamnist@1",
        "models": ["cbr-tiny"],
        "seeds": 1,
        "image_size": 28,
        "training": {"steps": 200, "eval_every": 200, "checkpoints": 0},
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
