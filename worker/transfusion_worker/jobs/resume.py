"""Handing a training over: where it stands goes to the store while it goes on, and comes back in the next attempt."""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from transfusion_core.errors import DataError, StoreError, Unavailable
from transfusion_core.science.training.state import TrainingState
from transfusion_core.specs.job import Bundle
from transfusion_core.specs.training import Checkpoint
from transfusion_worker.context import JobContext


class Standing(NamedTuple):
    """Where an earlier attempt stood, and the checkpoints that the run had by then."""

    state: TrainingState
    checkpoints: list[Checkpoint]


def newest(context: JobContext) -> Standing | None:
    """The newest bundle whose bytes are what was promised; None where there is none, which starts from the start."""
    for bundle in context.handover.bundles:
        path = context.scratch / f"from-{bundle.step}.safetensors"
        try:
            context.store.get_file(bundle.object, path)
            state, extra = TrainingState.load(path)
            checkpoints = [Checkpoint.model_validate(each) for each in extra["checkpoints"]]
        except (StoreError, DataError, OSError) as error:
            context.log(f"cannot continue from step {bundle.step}: {error}")
        else:
            context.log(f"continues after step {state.step}")
            return Standing(state, checkpoints)
        finally:
            path.unlink(missing_ok=True)
    return None


class Uploader:
    """Takes states to the store one at a time, while the training goes on; one that fails is logged and forgotten."""

    def __init__(self, context: JobContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._context, self._clock = context, clock
        self._every_seconds, self._every_steps = context.settings.resume_seconds, context.settings.resume_steps
        self._last = clock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="uploader")
        self._under_way: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True)

    def is_due(self, step: int) -> bool:
        """Whether the state after this step is to be taken; never while another is under way."""
        if self._under_way is not None and not self._under_way.done():
            return False
        on_the_grid = self._every_steps is not None and step % self._every_steps == 0
        return on_the_grid or self._clock() - self._last >= self._every_seconds

    def take(self, state: TrainingState, **extra: Any) -> None:
        """Write the state down, and take it to the store."""
        self._last = self._clock()
        path = self._context.scratch / f"state-{state.step}.safetensors"
        try:
            state.save(path, **extra)
        except OSError as error:  # a disk that is full now may not be so at the next state
            path.unlink(missing_ok=True)
            self._context.log(f"the state after step {state.step} is not kept: {error}")
            return
        self._under_way = self._pool.submit(self._put, path, state.step)

    def _put(self, path: Path, step: int) -> None:
        try:
            self._context.hand_over(Bundle(step=step, object=self._context.put(path, path.name)))
        except (StoreError, Unavailable, OSError) as error:
            with suppress(OSError):
                self._context.log(f"the state after step {step} is not kept: {error}")
        finally:
            path.unlink(missing_ok=True)
