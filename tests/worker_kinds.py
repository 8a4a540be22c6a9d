"""Job functions for tests of the worker: each does one thing to its supervisor. Ingests and pixels are real."""

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from threadpoolctl import threadpool_info

from transfusion_core.errors import DataError, JobCancelled, ObjectMissing, Unavailable
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.job import Bundle
from transfusion_worker.context import CurvePoint, JobContext
from transfusion_worker.jobs import ingest, pixels

SECRET_NAMES = ("TRANSFUSION_DATABASE_URL", "TRANSFUSION_BROKER_URL")


def echo(context: JobContext) -> dict[str, Any]:
    context.progress("work", step=1, steps=2)
    context.points([CurvePoint(1, "loss", "train", 0.5), CurvePoint(2, "loss", "train", float("nan"))])
    context.log("a line")
    path = context.scratch / "out.json"
    path.write_text("{}")
    stored = context.put(path, "out.json")
    assert context.fetch(stored).read_text() == "{}"
    return {
        "spec": context.spec,
        "needs": [need.result for need in context.needs],
        "stored": stored.model_dump(),
        "threads": torch.get_num_threads(),
        "blas_threads": sorted({found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"}),
        "scratch": str(context.scratch),
        "secrets": [name for name in os.environ if name in SECRET_NAMES or name.startswith("PG")],
        "database_url": context.settings.database_url,
        "has_main_program": hasattr(sys.modules["__main__"], "__file__"),
        "leads_its_group": os.getpgrp() == os.getpid(),
    }


def quick(context: JobContext) -> dict[str, Any]:
    return {"attempt": context.attempt}


def inherited(context: JobContext) -> dict[str, Any]:
    """Whether a collection of garbage would look at, and so copy, what was in memory before this process."""
    return {"is_collected": any(each is KINDS for each in gc.get_objects()), "frozen": gc.get_freeze_count() > 0}


def wait(context: JobContext) -> dict[str, Any]:
    """Write the pid where the test looks, and work until asked to stop or the file `go` is there."""
    _tell_pid(context)
    while not os.path.exists(context.spec["go"]):
        if context.should_stop():
            raise JobCancelled
        time.sleep(0.02)
    return {"attempt": context.attempt}


def deaf(context: JobContext) -> dict[str, Any]:
    """Never stops by itself."""
    _tell_pid(context)
    while True:
        time.sleep(0.02)


def die(context: JobContext) -> dict[str, Any]:
    print("last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def leave(context: JobContext) -> dict[str, Any]:
    os._exit(7)


def fail(context: JobContext) -> dict[str, Any]:
    raise {
        "data": DataError("bad data"),
        "bug": ZeroDivisionError("oh"),
        "memory": MemoryError("too much"),
        "cuda": torch.OutOfMemoryError("too much"),
        "cublas": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        "full": torch.AcceleratorError("CUDA error: out of memory"),
        "device": torch.AcceleratorError("CUDA error: uncorrectable ECC error encountered"),
        "cudnn": RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        "gemm": RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        "nccl": torch.distributed.DistBackendError("NCCL error: unhandled system error"),
        "assert": torch.AcceleratorError("CUDA error: device-side assert triggered"),
        "words": ValueError("a text about a CUDA error"),
        "disk": OSError(28, "No space left on device"),
        "cancelled": JobCancelled("by itself"),
        "missing": ObjectMissing("gone"),
    }[context.spec["how"]]


def recover(context: JobContext) -> dict[str, Any]:
    """Finds its store away before its `after`th attempt."""
    if context.attempt < context.spec["after"]:
        raise Unavailable("the store is away")
    return {"attempt": context.attempt}


def steps(context: JobContext) -> dict[str, Any]:
    """Five steps with a bundle after each; goes on where an earlier attempt was."""
    before = context.handover.bundles[0].step if context.handover.bundles else 0
    path = context.scratch / "state"
    for step in range(before + 1, 6):
        context.progress("train", step=step, steps=5)
        path.write_text(f"{context.job_id} {step}")
        context.hand_over(Bundle(step=step, object=context.put(path, f"state-{step}")))
        time.sleep(0.02)
    path.write_text(f"{context.job_id} final")
    return {"steps": 5, "stored": context.put(path, "final").model_dump()}


def gone(context: JobContext) -> dict[str, Any]:
    context.fetch(StoredObject(key="nowhere", size_bytes=1, sha256="0" * 64))
    raise AssertionError


def train(context: JobContext) -> dict[str, Any]:
    """Has memory for so many images at a time as its seed says; deaf without a recipe."""
    if "training" not in context.spec:
        return deaf(context)
    micro_batch = context.handover.micro_batch(context.spec["training"]["batch_size"])
    if micro_batch > context.spec["seed"]:
        raise torch.OutOfMemoryError(f"no room for {micro_batch}")
    return {"micro_batch": micro_batch, "attempt": context.attempt}


def lonely(context: JobContext) -> dict[str, Any]:
    """Waits for a second process that cannot start."""
    from transfusion_worker.jobs import ranks  # here: one test needs it

    ranks.LEAVE_SECONDS = 0.5
    ranks.sys.executable = "/bin/false"
    with ranks.together(context, 2):
        raise AssertionError


def _tell_pid(context: JobContext) -> None:
    with open(context.spec["pids"], "a") as file:
        file.write(f"{os.getpid()}\n")


KINDS: dict[str, Callable[[JobContext], dict[str, Any]]] = {
    "echo": echo,
    "quick": quick,
    "inherited": inherited,
    "wait": wait,
    "deaf": deaf,
    "die": die,
    "leave": leave,
    "fail": fail,
    "gone": gone,
    "steps": steps,
    "recover": recover,
    "train": train,
    "lonely": lonely,
    "ingest": ingest.run,
    "pixels": pixels.run,
}
