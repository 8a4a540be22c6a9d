"""Kinds `probe` and `barrier`: through the real machinery, and what they refuse."""

import json
from dataclasses import replace

import pytest
import torch

from transfusion_core.errors import DataError, JobCancelled, OutOfMemory
from transfusion_core.science.data.annotations import Annotations
from transfusion_core.science.models.build import build_random
from transfusion_core.specs.pixels import pixels_draft
from transfusion_core.specs.report import Report
from transfusion_core.specs.robustness import BarrierJob, BarrierResult, ProbeJob, ProbeResult
from transfusion_core.specs.training import TrainResult
from transfusion_worker.assignment import Need
from transfusion_worker.jobs import barrier, probe
from transfusion_worker.jobs.checkpoints import About, keep
from worker_study import study_of

BODY = {
    "dataset": "demo-retina",
    "models": ["cbr-tiny"],
    "inits": ["random"],
    "seeds": 2,
    "train_sizes": [40],
    "image_size": 24,
    "training": {"steps": 4, "eval_every": 2, "batch_size": 8, "checkpoints": 1},
    "sections": ["robustness"],
}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """An experiment that asks for robustness alone, done by the real job functions."""
    with study_of(BODY, tmp_path_factory.mktemp("robust")) as study:
        yield study


def test_every_job_succeeds(studied):
    assert {row.error for row in studied.rows} == {None}
    kinds = ("ingest", "pixels", "train", "compare", "probe", "barrier", "report")
    assert [len(studied.of_kind(kind)) for kind in kinds] == [1, 1, 2, 0, 2, 1, 1]
    assert {row.queue for row in studied.of_kind("probe") + studied.of_kind("barrier")} == {"gpu"}


def test_a_probe_has_every_stage_and_number_of_blocks(studied):
    for row in studied.of_kind("probe"):
        found = ProbeResult.model_validate(row.result)
        (run,) = [each for each in studied.of_kind("train") if each.key == row.spec["run"]]
        assert found.auroc == pytest.approx(TrainResult.model_validate(run.result).metrics["test"].auroc)
        assert found.images == 260
        for trial in ("reinit", "rerand", "knn", "linear_probe"):
            assert [s.layer for s in found.scores if s.trial == trial] == STAGES
        assert [s.blocks for s in found.scores if s.trial == "block_shuffle"] == [1, 2, 4, 8]
        assert all(0 <= s.auroc <= 1 for s in found.scores)
        assert next(s.auroc for s in found.scores if s.blocks == 1) == pytest.approx(found.auroc)


def test_fresh_random_values_are_not_those_of_the_initialisation(studied):
    for row in studied.of_kind("probe"):
        scores = ProbeResult.model_validate(row.result).scores
        reset, fresh = ([s.auroc for s in scores if s.trial == trial] for trial in ("reinit", "rerand"))
        assert reset != fresh


def test_a_barrier_has_its_line(studied):
    for row in studied.of_kind("barrier"):
        found = BarrierResult.model_validate(row.result)
        assert [point.at for point in found.points] == pytest.approx([place / 6 for place in range(7)])
        assert found.loss.value >= 0
        assert found.auroc.value >= 0


def test_the_report_has_the_section(studied):
    (row,) = studied.of_kind("report")
    section = Report.model_validate(json.loads(studied.read(row.result["report"]))).sections["robustness"]
    assert section.complete
    found = {(r.init, r.measure, r.layer, r.blocks): r for r in section.table if not r.pair and r.metric != "auroc"}
    assert found["random", "reinit", "stage2", None].n == 2
    assert [r.pair for r in section.table if r.measure == "loss_barrier"] == ["random-random"]


ABOUT = About(model="cbr-tiny", classes=2, image_size=24, step=1, dataset="d", mean=[0.5] * 3, std=[0.2] * 3)


@pytest.fixture
def needs(make):
    """A dataset of noise with this many test images, and two runs of these models: what the jobs need."""

    def make_needs(*, test: int = 10, models: tuple[str, str] = ("cbr-tiny", "cbr-tiny")) -> list[Need]:
        context = make()
        draw = torch.Generator().manual_seed(0)
        images = torch.randint(0, 256, (20 + test, 3, 24, 24), generator=draw).to(torch.uint8)
        annotations = Annotations(
            labels=torch.arange(20 + test) % 2,
            split=torch.tensor([0] * 20 + [2] * test, dtype=torch.uint8),
            names=[str(number) for number in range(20 + test)],
            task="multiclass",
            classes=["a", "b"],
            places=torch.arange(20 + test),
        )
        found = {
            "digest": "d" * 64, "task": "multiclass", "images": len(images), "classes": ["a", "b"],
            "splits": {"train": 20, "val": 0, "test": test}, "channels": 3,
            "annotations": context.store.put_bytes("annotations", annotations.write()).model_dump(), "pack": [],
            "manifest": {"key": "m", "size_bytes": 1, "sha256": "d" * 64},
        }  # fmt: skip
        ingest = Need(id="0", key="d" * 64, kind="ingest", state="succeeded", spec={}, result=found)
        stored = context.store.put_bytes("pixels", images.numpy().tobytes()).model_dump()
        made = {
            "size": 24,
            "channels": 3,
            "order": "nhwc",
            "shards": [{"object": stored, "images": len(images), "channels": 3}],
        }
        draft = pixels_draft(ingest.key, 24)
        pixels = Need(id="1", key=draft.key, kind="pixels", state="succeeded", spec=draft.spec, result=made)
        return [ingest, pixels, *(_run(context, key, model) for key, model in zip("ab", models, strict=True))]

    return make_needs


def _run(context, key: str, model: str) -> Need:
    weights = build_random(model, classes=2, image_size=24, seed=ord(key)).state_dict()
    about = replace(ABOUT, model=model)
    result = {
        "metrics": {}, "series": [], "manifest": {}, "steps": 1, "images_per_second": 1.0, "parameters": 1,
        "checkpoints": [keep(context, weights, about, name).model_dump() for name in ("init", "final")],
        "weight_report": {"key": "k", "size_bytes": 1, "sha256": "0" * 64},
    }  # fmt: skip
    return Need(id=key, key=key * 64, kind="train", state="succeeded", spec={}, result=result)


WORDS = {"dataset": "d" * 64, "image_size": 24, "images": 12, "seed": 0}
PROBE = ProbeJob(run="a" * 64, neighbours=5, c=0.1, blocks=[1, 2], **WORDS).model_dump(mode="json")
BARRIER = BarrierJob(a="a" * 64, b="b" * 64, points=3, **WORDS).model_dump(mode="json")


def test_a_run_that_never_left_its_start_loses_nothing_when_a_stage_is_put_back(make, needs):
    context = make(needs=needs(), spec=PROBE)
    found = ProbeResult.model_validate(probe.run(context))
    assert found.images == 12
    assert {s.auroc for s in found.scores if s.trial == "reinit"} == {found.auroc}
    assert json.dumps(probe.run(make(needs=needs(), spec=PROBE))) == json.dumps(found.model_dump(mode="json"))
    told = [each["progress"] for each in context.told if "progress" in each]
    assert {each["phase"] for each in told} == {"fetch", "probe"}
    assert (told[-1]["step"], told[-1]["steps"]) == (18, 18)


def test_a_run_has_no_barrier_to_itself(make, needs):
    context = make(needs=needs(), spec=BARRIER | {"b": "a" * 64})
    found = BarrierResult.model_validate(barrier.run(context))
    assert (found.loss.value, found.auroc.value) == (0, 0)
    assert [each["progress"]["step"] for each in context.told if "progress" in each][-1] == 3


KINDS = [(probe, PROBE), (barrier, BARRIER)]


@pytest.mark.parametrize(("kind", "spec"), KINDS)
def test_a_job_that_is_asked_to_stop_does(make, needs, kind, spec):
    context = make(needs=needs(), spec=spec)
    context._stop.set()
    with pytest.raises(JobCancelled):
        kind.run(context)


@pytest.mark.parametrize(("kind", "spec"), KINDS)
def test_memory_that_runs_out_is_told_as_such(make, needs, kind, spec, monkeypatch):
    def full(*_given, **_named):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Conv2d, "forward", full)
    with pytest.raises(OutOfMemory, match="with images of 24 pixels"):
        kind.run(make(needs=needs(), spec=spec))


@pytest.mark.parametrize(("kind", "spec"), KINDS)
def test_without_test_images_nothing_can_be_measured(make, needs, kind, spec):
    with pytest.raises(DataError, match="at least one image in the test split"):
        kind.run(make(needs=needs(test=0), spec=spec))


@pytest.mark.parametrize(("kind", "spec"), KINDS)
def test_a_run_without_a_result_is_named(make, needs, kind, spec):
    with pytest.raises(DataError, match="expected a result of the job with key aaaa"):
        kind.run(make(needs=needs()[:2], spec=spec))


def test_two_kinds_of_network_have_no_line(make, needs):
    with pytest.raises(DataError, match="expected two networks of the same tensors"):
        barrier.run(make(needs=needs(models=("cbr-tiny", "cbr-small")), spec=BARRIER))
