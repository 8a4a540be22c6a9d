"""One function per figure, from the long table to a Vega-Lite specification. The table redraws every chart."""

from collections.abc import Callable, Sequence
from typing import Any

from transfusion_core.reporting.charts.convergence import figure_5
from transfusion_core.reporting.charts.movement import movement
from transfusion_core.reporting.charts.performance import performance
from transfusion_core.reporting.charts.reuse import figure_4
from transfusion_core.reporting.charts.similarity import figure_2
from transfusion_core.specs.report import Row

CHARTS: dict[str, Callable[[Sequence[Row]], dict[str, Any]]] = {
    "performance": performance,
    "figure-2": figure_2,
    "movement": movement,
    "figure-4": figure_4,
    "figure-5": figure_5,
}
"""Each chart by its name in a report. It is drawn from the table of the section that it stands in."""
