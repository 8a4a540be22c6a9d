"""Kind `train` with recipes that do more than go to the last step."""

import threading
from functools import partial
from itertools import count
from math import nan

import pytest

from transfusion_core.errors import Diverged
from transfusion_core.science.training import loop
from transfusion_core.science.training.checkpoint import load_checkpoint
from transfusion_core.science.training.losses import loss
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.init import Init
from transfusion_core.specs.job import Handover, TrainJob
from transfusion_core.specs.training import EarlyStopping, TrainingSpec, TrainResult
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment, Need, open_settings
from transfusion_worker.context import JobContext
from transfusion_worker.jobs import train
from worker_study import needs_of

DATASET = ingest_draft(DatasetSpec(name="d", kind="recipe", recipe={"name": "demo-retina", "images": 60, "size": 24}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


def _context(folder, spec, *, needs=(), handover: Handover = Handover(), **changes) -> JobContext:  # noqa: B008
    settings = Settings(store_url=f"file://{folder}/store", cache_dir=folder / "cache", **changes)
    (folder / "scratch").mkdir(exist_ok=True)
    assignment = Assignment(
        job_id="1", attempt=1, kind="train", spec=spec, needs=list(needs), settings=open_settings(settings),
        scratch=str(folder / "scratch"), device="cpu", threads=1, handover=handover,
    )  # fmt: skip
    told = []
    context = JobContext(
        assignment, settings=settings, store=open_store(settings), tell=told.append, stop=threading.Event()
    )
    context.told = told
    return context


@pytest.fixture(scope="module")
def needs(folder) -> list[Need]:
    """A small ingested dataset."""
    return needs_of(DATASET, 24, partial(_context, folder))


@pytest.fixture
def run(folder, needs):
    """Train a tiny network by a recipe: the context with what it told, and the result."""

    def run(training: TrainingSpec, **more) -> tuple[JobContext, TrainResult]:
        job = TrainJob(
            dataset=DATASET.key, model="cbr-tiny", init=Init(kind="random"), train_size="all", seed=0, image_size=24,
            training=training,
        )  # fmt: skip
        context = _context(folder, job.model_dump(mode="json"), needs=needs, **more)
        return context, TrainResult.model_validate(train.run(context))

    return run


def _log(context: JobContext) -> list[str]:
    return [told["log"] for told in context.told if "log" in told]


SPEC = TrainingSpec(steps=30, eval_every=1, batch_size=8, checkpoints=1)


def test_an_early_stop_is_told_and_its_checkpoint_is_of_the_best_step(run, folder):
    hasty = SPEC.model_copy(update={"lr": 1.0, "early_stopping": EarlyStopping(patience=3)})
    context, result = run(hasty)
    best = result.manifest["best_step"]
    assert result.steps == best + 3 < 30
    assert [(each.name, each.step) for each in result.checkpoints][-1] == ("final", best)
    assert f"stops after step {result.steps} of 30: validation got no better" in _log(context)
    assert f"the final weights are those after step {best}, the best on validation" in _log(context)
    assert result.manifest["retried_at_lr"] is None


def test_frozen_weights_are_not_counted_and_stay(run):
    _, whole = run(SPEC.model_copy(update={"steps": 2}))
    context, probe = run(SPEC.model_copy(update={"steps": 2, "freeze": "all", "ema": 0.9}))
    assert 0 < probe.parameters < whole.parameters
    init, final = (
        load_checkpoint(context.fetch(StoredObject(key=kept.key, size_bytes=kept.bytes, sha256=kept.sha256)))[0]
        for kept in (probe.checkpoints[0], probe.checkpoints[-1])
    )
    assert {name.split(".")[0] for name in init if not init[name].equal(final[name])} == {"head"}


@pytest.fixture
def broken_once(monkeypatch):
    """The third loss that is worked out is no number."""
    calls = count(1)
    monkeypatch.setattr(loop, "loss", lambda *of, **more: loss(*of, **more) * (nan if next(calls) == 3 else 1))


def test_a_second_attempt_is_told_and_begins_its_checkpoints_and_curves_anew(run, broken_once):
    context, result = run(SPEC.model_copy(update={"retry_on_divergence": True, "eval_every": 20, "lr": 0.01}))
    assert result.manifest["retried_at_lr"] == pytest.approx(0.001)
    assert [each.name for each in result.checkpoints] == ["init", "5", "final"]
    assert any("starts again at a learning rate of 0.001" in line for line in _log(context))
    points = [point for told in context.told for point in told.get("points", [])]
    first = [point for point in points if point["step"] == 0 and point["split"] == "val"]
    assert [point["value"] is None for point in first] == [False, False, True, True, False, False]


def test_there_is_no_second_attempt_unless_asked(run, broken_once):
    with pytest.raises(Diverged):
        run(SPEC)
