"""When to evaluate, when to keep weights, and how fast to learn: pure functions of the recipe, the step and the curve.

A step is one update. Step 0 stands before the first update, step `steps` after the last.
"""

import math

from transfusion_core.specs.training import TrainingSpec

FIRST, LAST = "init", "final"


def evaluation_steps(steps: int, every: int) -> list[int]:
    """Steps 0, every, 2 every, ... and the last one, rising."""
    return sorted({*range(0, steps, every), steps})


def checkpoint_steps(steps: int, count: int) -> list[int]:
    """Step 0, `count` distinct steps evenly spaced in log(step) strictly inside (1, steps), and step `steps`, rising.

    A run of fewer than `count` inner steps keeps them all.
    """
    count = min(count, steps - 1)
    inner: list[int] = []
    for i in range(1, count + 1):
        wanted = round(steps ** (i / (count + 1)))
        after_previous = inner[-1] + 1 if inner else 1
        room_for_the_rest = steps - 1 - (count - i)
        inner.append(min(max(wanted, after_previous), room_for_the_rest))
    return [0, *inner, steps]


def checkpoint_name(step: int) -> str:
    """`init` for step 0, else the step as text; the weights that a training ends with are called `final`."""
    return str(step) if step else FIRST


def learning_rate(training: TrainingSpec, step: int, *, plateaus: int = 0) -> float:
    """The learning rate of the update that follows step `step` (from 0), after so many plateaus of the validation loss.

    Warm-up is linear, its last update the first at the full rate; the cosine (Loshchilov and Hutter 2017, 1608.03983,
    without restarts) spans the updates after it.
    """
    done = step - training.warmup_steps
    if done < 0:
        return training.lr * (step + 1) / training.warmup_steps
    if training.schedule == "cosine":
        return training.lr * (1 + math.cos(math.pi * done / (training.steps - training.warmup_steps))) / 2
    if training.schedule == "step" and training.step_every is not None:
        return float(training.lr * training.step_factor ** (step // training.step_every))
    if training.schedule == "plateau":
        return float(training.lr * training.step_factor**plateaus)
    return training.lr
