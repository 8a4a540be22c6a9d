"""A row that is the mean of some values."""

from typing import Any

from transfusion_core.reporting.statistics import summarise
from transfusion_core.specs.report import Row


def mean_row(values: list[float], reason: str, *, bounds: tuple[float, float] | None = None, **words: Any) -> Row:
    """Mean, sd and t interval, kept within `bounds`; the reason where there are no values."""
    found = summarise(values, bounds=bounds)
    return Row(
        **words,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(values),
        interval=found.interval if found else None,
        reason=None if found else reason,
    )
