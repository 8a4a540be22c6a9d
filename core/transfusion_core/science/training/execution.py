"""How updates are computed: in which precision, compiled or not. Never what they compute.

What is chosen by measuring (`compile: measure`) is chosen once, on copies of the network, and kept in the state that a
training continues from: a second measurement could end otherwise, and other kernels round otherwise.
"""

import copy
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from transfusion_core.errors import DataError
from transfusion_core.specs.training import TrainingSpec

EAGER = "eager"
MODES = {"cpu": ("default",), "cuda": ("default", "reduce-overhead")}
"""What torch.compile is tried with; `reduce-overhead` replays CUDA graphs, from which small networks gain most."""
WARM_STEPS, TIMED_STEPS = 3, 5
WORTH = 0.97
"""A compiled step has to take less than this share of an eager one's time."""
HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Network = Callable[[Tensor], Tensor]


class Execution:
    """The precision and the kernels of one training."""

    def __init__(self, training: TrainingSpec, device: torch.device) -> None:
        self.device, self.precision, self.measures = device, training.precision, training.compile == "measure"
        self.mode = EAGER
        self.milliseconds: dict[str, float | None] = {}
        """Of a forward and backward pass in each mode that was measured; None where it does not run."""
        self._scaler = GradScaler(device.type, enabled=self.precision == "fp16")

    def choose(self, model: nn.Module, passes: Callable[[Network], object]) -> None:
        """Measure where the recipe asks for it, and take the fastest mode.

        `passes` does a forward and backward pass of the network that it is given: copies of the model.
        """
        if not self.measures:
            return
        eager = _milliseconds(copy.deepcopy(model), passes, self.device)
        self.milliseconds = {EAGER: eager}
        best = WORTH * eager
        for mode in MODES[self.device.type]:
            self.milliseconds[mode] = took = _tried(copy.deepcopy(model), mode, passes, self.device)
            if took is not None and took < best:
                best, self.mode = took, mode

    def network(self, model: nn.Module) -> Network:
        """The model as the chosen mode calls it; the parameters are the model's own."""
        return model if self.mode == EAGER else _compiled(model, self.mode)

    def autocast(self) -> AbstractContextManager[Any]:
        """Around forward passes that train; evaluations are in float32 whatever the training's precision is."""
        dtype = HALVES.get(self.precision)
        return torch.autocast(self.device.type, dtype=dtype) if dtype else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradients."""
        torch.autograd.backward(self._scaler.scale(loss))

    def update(self, optimizer: Optimizer, model: nn.Module, *, clip_norm: float | None) -> None:
        """One step of the optimizer on the gradients that are there."""
        if clip_norm is not None:
            self._scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        self._scaler.step(optimizer)
        self._scaler.update()

    def state(self) -> dict[str, Any]:
        """What a training needs to continue as it was, as JSON."""
        return {"mode": self.mode, "milliseconds": self.milliseconds, "scaler": self._scaler.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where `state()` was told. DataError where it was none."""
        try:
            self.mode, self.milliseconds = str(state["mode"]), dict(state["milliseconds"])
            self._scaler.load_state_dict(state["scaler"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"expected how a training was computed, got {error!r}") from error

    def told(self) -> dict[str, Any]:
        """For the record of a run."""
        return {"precision": self.precision, "mode": self.mode, "milliseconds": self.milliseconds}


@contextmanager
def numerics(training: TrainingSpec, device: torch.device) -> Iterator[None]:
    """Leave torch's generators, and its choices of kernels, to others as they were.

    Outside `tf32` products and convolutions on CUDA keep all of float32's digits, which is not torch's own default.
    """
    cuda, tf32 = device.type == "cuda", training.precision == "tf32"
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cuda.matmul.allow_tf32
    with (
        torch.random.fork_rng(devices=[device] if cuda else []),
        torch.backends.cudnn.flags(
            enabled=True,
            benchmark=not training.deterministic,
            deterministic=training.deterministic,
            allow_tf32=tf32,
        ),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        if cuda and training.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            # Warns alone: some networks have operations without a deterministic kernel.
            torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.backends.cuda.matmul.allow_tf32 = before[1]


def _compiled(model: nn.Module, mode: str) -> Network:
    mark_step: Callable[[], None] = torch.compiler.cudagraph_mark_step_begin
    compiled: Network = torch.compile(model, mode=mode, dynamic=False)

    def call(images: Tensor) -> Tensor:
        mark_step()
        return compiled(images)

    return call


def _tried(model: nn.Module, mode: str, passes: Callable[[Network], object], device: torch.device) -> float | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a compiler's, about itself
            return _milliseconds(_compiled(model, mode), passes, device)
    except Exception:  # what a compiler can fail of has no end, and the training can do without it
        return None


def _milliseconds(network: Network, passes: Callable[[Network], object], device: torch.device) -> float:
    for _ in range(WARM_STEPS):
        passes(network)
    _wait(device)
    started = time.perf_counter()
    for _ in range(TIMED_STEPS):
        passes(network)
    _wait(device)
    return (time.perf_counter() - started) / TIMED_STEPS * 1000


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
