"""Several tests in one table: each p value beside what is left of it after Holm's correction."""

from collections.abc import Sequence

from transfusion_core.reporting.statistics import holm
from transfusion_core.specs.report import Row


def corrected(table: Sequence[Row]) -> list[Row]:
    """The table with `p_adjusted`, over all its rows of the same test."""
    adjusted: dict[int, float | None] = {}
    for test in {row.test for row in table if row.p_value is not None}:
        places = [place for place, row in enumerate(table) if row.test == test and row.p_value is not None]
        adjusted |= dict(zip(places, holm([table[place].p_value for place in places]), strict=True))
    return [row.model_copy(update={"p_adjusted": adjusted.get(place)}) for place, row in enumerate(table)]
