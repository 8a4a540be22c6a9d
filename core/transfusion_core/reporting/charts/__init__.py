"""One function per figure, from the long table to a Vega-Lite specification. The table redraws every chart."""

from collections.abc import Callable, Sequence
from typing import Any

from transfusion_core.reporting.charts.convergence import figure_5
from transfusion_core.reporting.charts.dataset import classes, intensities, resolutions, samples, texture
from transfusion_core.reporting.charts.movement import figure_3, filters, movement, through_training
from transfusion_core.reporting.charts.performance import performance
from transfusion_core.reporting.charts.reuse import figure_4
from transfusion_core.reporting.charts.robustness import auroc_by_blocks, drop_by_stage, probes_by_stage
from transfusion_core.reporting.charts.similarity import figure_2, layer_maps
from transfusion_core.reporting.charts.small_data import gain_by_capacity, gain_by_size
from transfusion_core.reporting.charts.transfusion import quality_by_stages, steps_by_stages
from transfusion_core.specs.report import Row

CHARTS: dict[str, Callable[[Sequence[Row]], dict[str, Any]]] = {
    "figure-1": samples,
    "classes": classes,
    "resolutions": resolutions,
    "intensities": intensities,
    "texture": texture,
    "performance": performance,
    "gain-by-size": gain_by_size,
    "gain-by-capacity": gain_by_capacity,
    "figure-2": figure_2,
    "layers": layer_maps,
    "movement": movement,
    "figure-3": figure_3,
    "through-training": through_training,
    "filters": filters,
    "figure-4": figure_4,
    "figure-5": figure_5,
    "robustness-drop": drop_by_stage,
    "robustness-probes": probes_by_stage,
    "robustness-blocks": auroc_by_blocks,
    "transfusion": quality_by_stages,
    "transfusion-steps": steps_by_stages,
}
"""Each chart by its name in a report. It is drawn from the table of the section that it stands in."""
