"""What one attempt leaves for the next: bundles in the store, and batches in smaller parts after memory ran out."""

import threading

import pytest
import torch

from transfusion_core.db import jobs
from transfusion_core.errors import StoreError
from transfusion_core.science.training.state import TrainingState
from transfusion_core.settings import Settings
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.init import Init
from transfusion_core.specs.job import BUNDLES_KEPT, Bundle, Handover, TrainJob
from transfusion_core.specs.training import Checkpoint, TrainingSpec
from transfusion_core.store import open_store
from transfusion_worker.assignment import Assignment, open_settings
from transfusion_worker.context import JobContext
from transfusion_worker.jobs.resume import Uploader, newest

STATE = TrainingState(3, 1.5, {"weight": torch.ones(2)}, {0: {"step": torch.tensor(3.0)}}, {}, [0.5], [], {})
CHECKPOINT = Checkpoint(step=0, name="init", bytes=1, sha256="0" * 64, key="k")


@pytest.fixture
def make(tmp_path):
    """A context with a handover and settings, that writes down what it tells."""
    (tmp_path / "scratch").mkdir()

    def make_one(handover: Handover = Handover(), **changes) -> JobContext:  # noqa: B008 - it is frozen
        settings = Settings(store_url=f"file://{tmp_path}/store", cache_dir=tmp_path / "cache", **changes)
        assignment = Assignment(
            job_id="1", attempt=1, kind="train", spec={}, settings=open_settings(settings),
            scratch=str(tmp_path / "scratch"), device="cpu", threads=1, handover=handover,
        )  # fmt: skip
        told = []
        read = Assignment.read(assignment.message())
        assert read == assignment
        context = JobContext(
            read, settings=settings, store=open_store(settings), tell=told.append, stop=threading.Event()
        )
        context.told = told
        return context

    return make_one


def _bundles(context: JobContext) -> list[Bundle]:
    return [Bundle.model_validate(told["bundle"]) for told in context.told if "bundle" in told]


def _handed(context: JobContext, *states: TrainingState) -> Handover:
    with Uploader(context) as uploader:
        for state in states:
            uploader.take(state, checkpoints=[CHECKPOINT.model_dump()])
    handover = Handover()
    for bundle in _bundles(context):
        handover, _ = handover.with_bundle(bundle)
    return handover


def test_what_was_handed_over_comes_back(make):
    context = make()
    found = newest(make(_handed(context, STATE)))
    assert found.checkpoints == [CHECKPOINT]
    assert (found.state.step, found.state.seconds, found.state.losses) == (3, 1.5, [0.5])
    assert torch.equal(found.state.weights["weight"], torch.ones(2))
    assert list(context.scratch.iterdir()) == []


def test_without_a_bundle_a_training_starts_from_the_start(make):
    assert newest(make()) is None


@pytest.mark.parametrize("harm", ["flipped", "truncated", "empty", "missing", "rubbish"])
def test_what_is_damaged_gives_way_to_the_one_before_and_says_so(make, harm: str):
    older = TrainingState(2, 1.0, STATE.weights, {}, {}, [], [], {})
    context = make()
    handover = _handed(context, older, STATE)
    key = handover.bundles[0].object.key
    if harm == "rubbish":
        (context.scratch / "rubbish").write_bytes(b"no state")
        stored = context.put(context.scratch / "rubbish", "rubbish")
        handover = handover.model_copy(update={"bundles": [Bundle(step=3, object=stored), handover.bundles[1]]})
    else:
        data = context.store.get_bytes(key)
        context.store.delete(key)
        if harm != "missing":
            context.store.put_bytes(key, {"flipped": _flipped(data), "truncated": data[:-9], "empty": b""}[harm])
    again = make(handover)
    assert newest(again).state.step == 2
    assert "cannot continue from step 3" in again.told[0]["log"]
    assert again.told[1]["log"] == "continues after step 2"
    assert newest(make(handover.model_copy(update={"bundles": handover.bundles[:1]}))) is None


def test_where_every_bundle_is_damaged_a_training_starts_from_the_start_and_says_so(make):
    context = make()
    handover = _handed(context, TrainingState(2, 1.0, STATE.weights, {}, {}, [], [], {}), STATE)
    for bundle in handover.bundles:
        data = context.store.get_bytes(bundle.object)
        context.store.delete(bundle.object.key)
        context.store.put_bytes(bundle.object.key, _flipped(data))
    again = make(handover)
    assert newest(again) is None
    assert [told["log"].partition(":")[0] for told in again.told] == [f"cannot continue from step {n}" for n in (3, 2)]
    assert all("expected sha256" in told["log"] for told in again.told)


def _flipped(data: bytes) -> bytes:
    """One bit of the last tensor's: it would load silently."""
    return data[:-1] + bytes([data[-1] ^ 1])


def test_states_are_taken_on_a_grid_of_seconds_and_one_of_steps(make):
    now = [0.0]
    with Uploader(make(resume_seconds=10), clock=lambda: now[0]) as uploader:
        assert not uploader.is_due(5)
        now[0] = 10.0
        assert uploader.is_due(5)
        uploader.take(STATE, checkpoints=[])
    assert not uploader.is_due(6)
    with Uploader(make(resume_steps=4), clock=lambda: now[0]) as uploader:
        assert [step for step in range(1, 10) if uploader.is_due(step)] == [4, 8]


def test_one_state_is_under_way_at_a_time(make, monkeypatch):
    context, go = make(resume_steps=1), threading.Event()
    put = context.put
    monkeypatch.setattr(context, "put", lambda *of: (go.wait(30), put(*of))[1])
    with Uploader(context) as uploader:
        uploader.take(STATE, checkpoints=[])
        assert not uploader.is_due(4)
        go.set()
    assert uploader.is_due(5)
    assert [bundle.step for bundle in _bundles(context)] == [3]


def test_a_store_that_fails_costs_a_bundle_and_not_the_training(make, monkeypatch):
    context = make()

    def fail(*of):
        raise StoreError("no room")

    monkeypatch.setattr(context, "put", fail)
    assert _handed(context, STATE).bundles == []
    assert context.told == [{"log": "the state after step 3 is not kept: no room"}]
    assert list(context.scratch.iterdir()) == []


def test_the_newest_bundles_are_named_and_the_others_let_go():
    handover, dropped = Handover(), []
    bundles = [Bundle(step=n, object=StoredObject(key=str(n), size_bytes=1, sha256="0" * 64)) for n in range(4)]
    for bundle in bundles:
        handover, older = handover.with_bundle(bundle)
        dropped += older
    assert handover.bundles == bundles[: -BUNDLES_KEPT - 1 : -1]
    assert dropped == bundles[:-BUNDLES_KEPT]


@pytest.mark.parametrize(("batch_size", "parts"), [(32, [32, 16, 8, 4, 2]), (6, [6, 3]), (3, [3]), (2, [2])])
def test_batches_are_halved_four_times_at_most_and_never_below_two(batch_size: int, parts: list[int]):
    handover: Handover | None = Handover()
    found = []
    while handover is not None:
        found.append(handover.micro_batch(batch_size))
        handover = handover.halved(batch_size)
    assert found == parts


def _train_job(bench, *, room: int) -> str:
    job = TrainJob(
        dataset="0" * 64, model="cbr-tiny", init=Init(kind="random"), train_size="all", seed=room, image_size=24,
        training=TrainingSpec(batch_size=32),
    )  # fmt: skip
    return bench.add("train", **job.model_dump(mode="json"))


def test_after_memory_ran_out_a_fresh_process_takes_smaller_parts(bench, working):
    done = bench.ended(_train_job(bench, room=9))
    assert (done.state, done.result) == ("succeeded", {"micro_batch": 8, "attempt": 3})
    assert done.crashes == 0
    assert jobs.log(bench.engine, done.id) == [
        "out of memory: the next attempt takes 16 images of 32 at a time",
        "out of memory: the next attempt takes 8 images of 32 at a time",
    ]


def test_where_no_part_is_small_enough_the_run_fails_for_memory(bench, working):
    failed = bench.ended(_train_job(bench, room=1))
    assert (failed.state, failed.reason, failed.attempt) == ("failed", "out_of_memory", 5)
    assert "no room for 2" in failed.error
