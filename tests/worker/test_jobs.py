"""Every kind of job as the worker does it: one small experiment, from recipes to its report."""

import json
from base64 import b64decode
from io import BytesIO

import pytest
from PIL import Image

from platforms import FEW_IMAGES
from transfusion_core.db import jobs
from transfusion_core.specs.comparison import ComparisonResult
from transfusion_core.specs.dataset import IngestResult, Pixels
from transfusion_core.specs.init import WeightReport
from transfusion_core.specs.profile import DatasetProfile
from transfusion_core.specs.report import Report
from transfusion_core.specs.training import Filters, TrainResult
from worker_study import study_of

BODY = {
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "sources": {"natural": {"pretrain": {"dataset": "demo-natural", "training": {"steps": 2, "eval_every": 2}}}},
    "inits": ["random", {"kind": "mean_var", "source": "natural"}],
    "seeds": 1,
    "train_sizes": [40],
    "image_size": 24,
    "training": {"steps": 4, "eval_every": 2, "batch_size": 8, "checkpoints": 1},
    "similarity": {"measures": ["svcca", "cka"], "images": 30},
}


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """An experiment, done by the real job functions."""
    with study_of(BODY, tmp_path_factory.mktemp("studied")) as study:
        yield study


def test_every_job_succeeds(studied):
    assert {row.error for row in studied.rows} == {None}
    assert {row.state for row in studied.rows} == {"succeeded"}
    kinds = ("ingest", "pixels", "train", "compare", "profile", "probe", "report")
    assert [len(studied.of_kind(kind)) for kind in kinds] == [2, 2, 3, 5, 1, 1, 1]


def test_an_ingest_leaves_a_pack(studied):
    for row in studied.of_kind("ingest"):
        found = IngestResult.model_validate(row.result)
        assert sum(found.splits.values()) == found.images == FEW_IMAGES
        for stored in (found.annotations, *found.pack):
            assert studied.store.size(stored.key) == stored.size_bytes


def test_pixels_are_made_once_for_each_dataset_and_lie_in_the_store(studied):
    for row in studied.of_kind("pixels"):
        made = Pixels.model_validate(row.result)
        assert (made.channels, made.size) == (3, row.spec["image_size"])
        (shard,) = made.shards
        assert (shard.images, len(studied.read(shard.object))) == (FEW_IMAGES, FEW_IMAGES * 3 * made.size**2)


def test_a_profile_lies_in_the_store_and_is_of_the_dataset_of_the_experiment(studied):
    (row,) = studied.of_kind("profile")
    found = DatasetProfile.model_validate_json(studied.read(row.result["profile"]))
    (ingest,) = [each for each in studied.of_kind("ingest") if each.key == row.spec["dataset"]]
    assert (found.digest, found.splits) == (ingest.result["digest"], ingest.result["splits"])
    assert [each.label for each in found.samples] == found.classes
    for each in found.samples:
        with Image.open(BytesIO(b64decode(each.picture.partition(",")[2]))) as picture:
            assert picture.size == (6 * 64, 64)


def test_the_probe_of_the_section_dataset_shuffles_blocks_and_nothing_else(studied):
    (row,) = studied.of_kind("probe")
    assert [(each["trial"], each["blocks"]) for each in row.result["scores"]] == [
        ("block_shuffle", count) for count in (1, 2, 4, 8)
    ]


def test_a_run_leaves_checkpoints_curves_and_a_manifest(studied):
    for row in studied.of_kind("train"):
        result = TrainResult.model_validate(row.result)
        assert [c.name for c in result.checkpoints][:: len(result.checkpoints) - 1] == ["init", "final"]
        for checkpoint in result.checkpoints:
            studied.read({"key": checkpoint.key, "size_bytes": checkpoint.bytes, "sha256": checkpoint.sha256})
        told = {(p.name, p.split, p.step): p.value for p in jobs.points(studied.bench.engine, row.id)}
        kept = {(s.name, s.split, x): y for s in result.series for x, y in zip(s.steps, s.values, strict=True)}
        assert told == kept
        assert result.manifest["environment"]["torch"]
        assert result.manifest["seeds"] == {"seed": row.spec["seed"]}
        assert result.manifest["deterministic"] is True
        assert len(result.manifest["split_digest"]) == 64
        assert result.manifest["environment"]["packages"]["safetensors"]
    cells = [row.result["manifest"] for row in studied.of_kind("train") if row.spec["source"]]
    others = [row.result["manifest"] for row in studied.of_kind("train") if not row.spec["source"]]
    assert {each["split_digest"] for each in cells} <= {each["split_digest"] for each in others}, "one seed, one split"


def test_a_run_keeps_pictures_of_its_first_filters(studied):
    for row in studied.of_kind("train"):
        filters = Filters.model_validate_json(studied.read(row.result["filters"]))
        assert (filters.layer, filters.shape[1:]) == ("stage1.conv", [3, 5, 5])
        assert [each.checkpoint for each in filters.pictures] == ["init", "final"]
        before, after = (_picture(each.picture) for each in filters.pictures)
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()
        assert len(filters.correlations) == filters.shape[0]
        assert all(0.5 < one < 1 for one in filters.correlations)


def test_a_run_that_starts_from_another_says_what_it_took(studied):
    (run,) = [row for row in studied.of_kind("train") if row.spec["source"]]
    (source,) = [row for row in studied.of_kind("train") if row.key == run.spec["source"]["run"]]
    report = WeightReport.model_validate_json(studied.read(run.result["weight_report"]))
    final = TrainResult.model_validate(source.result).checkpoints[-1]
    assert report.source_digest == run.result["manifest"]["source_digest"] == final.sha256
    assert run.result["manifest"]["weights"]["drawn"] > 0


def test_a_comparison_lies_in_the_store_and_its_row_points_there(studied):
    for row in studied.of_kind("compare"):
        result = ComparisonResult.model_validate_json(studied.read(row.result["report"]))
        assert result.probe_set.images == 30
        assert result.probe_set.model_dump() == row.result["probe_set"]
        if row.spec["pairs"] == "all":
            assert len(result.results) == len(result.layers_a) ** 2
            continue
        assert len(result.results) == 2 * len(result.layers_a)
        for pair in result.results:
            assert pair.interval[0] <= pair.value <= pair.interval[1]
            assert 0 <= pair.null_permutation <= 1
            assert 0 <= pair.null_untrained <= 1
        assert len(result.filters) > 1
        assert result.weights[0].layer == "stage1.conv"
        before, after = (_picture(url) for url in result.filter_pictures)
        assert before.size == after.size
        assert min(before.size) > 6 * 5


def _picture(url: str) -> Image.Image:
    head, data = url.split(",")
    assert head == "data:image/png;base64"
    return Image.open(BytesIO(b64decode(data)))


def test_a_run_is_compared_with_its_start_on_the_way_as_well(studied):
    rows = [row for row in studied.of_kind("compare") if row.spec.get("through")]
    assert len(rows) == 2
    for row in rows:
        result = ComparisonResult.model_validate_json(studied.read(row.result["report"]))
        (between,) = result.between
        assert between.step == 2
        assert [r.layer_a for r in between.results] == [r.layer_a for r in result.results]
        moved = zip(between.weights, result.weights, strict=True)
        assert all(0 < part.relative_l2 < whole.relative_l2 * 2 for part, whole in moved)


def test_all_comparisons_use_the_same_probe_images(studied):
    assert len({row.result["probe_set"]["digest"] for row in studied.of_kind("compare")}) == 1


def test_the_report_is_whole(studied):
    (row,) = studied.of_kind("report")
    report = Report.model_validate(json.loads(studied.read(row.result["report"])))
    assert row.result["digest"] == report.digest
    assert list(report.sections)
    # one seed has no pair of networks of one arm, which is said and leaves the answer incomplete or not
    assert row.result["complete"] == all(section.complete for section in report.sections.values())
    assert report.sections["performance"].complete
    resampled = [row for row in report.sections["performance"].table if row.metric == "auroc_resampled"]
    assert {row.measure for row in resampled} == {"images"}
    assert all(row.interval[0] <= row.value <= row.interval[1] for row in resampled if row.label == ">=2")
    assert any(row.label == ">=2" for row in resampled)
