"""A whole curve as one number."""

from collections.abc import Sequence

import numpy as np


def area_under_curve(steps: Sequence[int], values: Sequence[float | None], *, horizon: int) -> float | None:
    """The mean height of a curve from its first step to `horizon`, in the curve's own unit, by trapezoids.

    A curve that ends early keeps its last value until then. None where a value is missing, or where no step lies
    before the horizon.
    """
    heights = [value for value in values if value is not None]
    if len(heights) < len(values) or not heights or steps[0] >= horizon:
        return None
    held = steps[-1] < horizon
    x = [*steps, horizon] if held else list(steps)
    y = [*heights, heights[-1]] if held else heights
    return float(np.trapezoid(y, x)) / (x[-1] - x[0])
