"""A second chance for a training that diverges: from the same weights, at a lower learning rate."""

from collections.abc import Callable
from typing import TypeVar

from torch import nn

from transfusion_core.errors import Diverged
from transfusion_core.science.training.checkpoint import plain_copies
from transfusion_core.science.training.hooks import Hooks
from transfusion_core.science.training.state import TrainingState

SLOWER = 0.1
T = TypeVar("T")


def with_retry(
    attempt: Callable[[float | None, TrainingState | None], T],
    model: nn.Module,
    *,
    lr: float,
    resume: TrainingState | None,
    hooks: Hooks,
) -> T:
    """What `attempt` answers for a lower learning rate (None for the recipe's own) and a state to continue from.

    `model` holds its initial weights: a second attempt starts from them, also where the first was a continued one.
    """
    if resume is not None and resume.retried_at_lr is not None:
        return attempt(resume.retried_at_lr, resume)
    start = plain_copies(model.state_dict())
    try:
        return attempt(None, resume)
    except Diverged as error:
        hooks.on_retry(lr * SLOWER, str(error))
    model.load_state_dict(start)
    return attempt(lr * SLOWER, None)
