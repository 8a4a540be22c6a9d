"""When to evaluate and when to keep weights: pure functions of the number of steps.

A step is one update. Step 0 stands before the first update, step `steps` after the last.
"""

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


def checkpoint_name(step: int, steps: int) -> str:
    """`init` for step 0, `final` for the last one, else the step as text."""
    if step == 0:
        return FIRST
    return LAST if step == steps else str(step)
