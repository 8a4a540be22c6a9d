"""Jobs whose training takes several processes, here on the CPU: the real ones, started by the job."""

import os
import signal
import threading
from dataclasses import replace

import pytest
import torch

from transfusion_core.errors import DataError, JobCancelled, OutOfMemory
from transfusion_core.science.training.checkpoint import load_checkpoint
from transfusion_core.specs.dataset import DatasetSpec, StoredObject
from transfusion_core.specs.facts import ingest_draft
from transfusion_core.specs.init import Init
from transfusion_core.specs.job import TrainJob
from transfusion_core.specs.training import TrainingSpec, TrainResult
from transfusion_worker.jobs import ranks, train
from worker_study import needs_of

DATASET = ingest_draft(DatasetSpec(name="d", kind="recipe", recipe={"name": "demo-retina", "images": 60, "size": 24}))
LONG = {"steps": 100_000, "eval_every": 100_000}


@pytest.fixture
def context_of(make):
    """A context for a training of a tiny network by a recipe."""
    needs = needs_of(DATASET, 24, make)

    def context_of(**recipe):
        training = TrainingSpec(**{"steps": 4, "eval_every": 2, "batch_size": 8, "checkpoints": 1, **recipe})
        job = TrainJob(
            dataset=DATASET.key, model="cbr-tiny", init=Init(kind="random"), train_size="all", seed=0, image_size=24,
            training=training,
        )  # fmt: skip
        return make(spec=job.model_dump(mode="json"), needs=needs)

    return context_of


@pytest.fixture
def peers(monkeypatch) -> list:
    """The other ranks that were started."""
    started = []

    class Peer(ranks._Peer):
        def __init__(self, *of, **more) -> None:
            super().__init__(*of, **more)
            started.append(self)

    monkeypatch.setattr(ranks, "_Peer", Peer)
    return started


def _after_first_step(context, do) -> None:
    """Have something done once the training is on its way."""
    tell, done = context._tell, threading.Event()

    def hear(message) -> None:
        tell(message)
        if message.get("progress", {}).get("step", 0) > 0 and not done.is_set():
            done.set()
            do()

    context._tell = hear


def _weights(context, result: TrainResult) -> dict[str, torch.Tensor]:
    kept = result.checkpoints[-1]
    return load_checkpoint(context.fetch(StoredObject(key=kept.key, size_bytes=kept.bytes, sha256=kept.sha256)))[0]


def test_a_training_of_two_processes_has_one_result(context_of, peers):
    context = context_of(gpus=2)
    result = TrainResult.model_validate(train.run(context))
    assert result.manifest["ranks"] == {"count": 2, "backend": "gloo"}
    assert [kept.name for kept in result.checkpoints] == ["init", "2", "final"]
    assert len(result.series) == len(TrainResult.model_validate(train.run(context_of())).series)
    assert [peer.process.returncode for peer in peers] == [0]
    again = context_of(gpus=2)
    weights, others = _weights(context, result), _weights(again, TrainResult.model_validate(train.run(again)))
    assert all(weights[name].equal(others[name]) for name in weights)


def test_a_cancel_reaches_all_processes(context_of, peers):
    context = context_of(gpus=2, **LONG)
    _after_first_step(context, context._stop.set)
    with pytest.raises(JobCancelled):
        train.run(context)
    assert peers[0].process.returncode is not None


def test_a_killed_process_is_noticed_and_told(context_of, peers):
    context = context_of(gpus=2, **LONG)
    _after_first_step(context, lambda: os.kill(peers[0].process.pid, signal.SIGKILL))
    with pytest.raises(ChildProcessError, match="rank 1 ended with exit code -9"):
        train.run(context)


def test_what_another_process_fails_of_is_what_the_job_fails_of(context_of):
    context = context_of(gpus=2)
    context.assignment = replace(context.assignment, needs=[])
    with pytest.raises(DataError, match="expected a result of the job with key"):
        train.run(context)


def test_a_process_that_never_comes_ends_the_job_soon(bench, working):
    ended = bench.ended(bench.add("lonely"))
    assert (ended.state, ended.reason, ended.attempt) == ("failed", "infrastructure", 3)
    assert "rank 1 ended with exit code 1" in ended.error


def test_a_worker_with_too_few_gpus_per_job_says_so(context_of):
    context = context_of(gpus=2)
    context.device = "cuda:0"
    with (
        pytest.raises(DataError, match=r"TRANSFUSION_GPUS_PER_JOB\), got one that gives 1"),
        ranks.together(context, 2),
    ):
        pass


@pytest.mark.parametrize(("reason", "kind"), [("data", DataError), ("out_of_memory", OutOfMemory)])
def test_a_failure_keeps_its_reason(make, monkeypatch, tmp_path, reason, kind):
    monkeypatch.setattr(ranks.sys, "executable", "/bin/false")
    peer = ranks._Peer(make(), tmp_path, rank=1, count=2)
    (peer.scratch / "failure.json").write_text(f'["{reason}", "so"]')
    peer.process.wait()
    assert peer.failed
    assert type(peer.failure()) is kind
