"""Statistics of a handful of runs and of test images. A number that the data do not support is None, never NaN."""

from transfusion_core.reporting.statistics.bootstrap import (
    Counts,
    Resampled,
    bootstrap_auc,
    drawn_aucs,
    draws_of,
    percentiles,
)
from transfusion_core.reporting.statistics.curves import area_under_curve
from transfusion_core.reporting.statistics.delong import Delong, PairedDelong, delong, paired_delong
from transfusion_core.reporting.statistics.holm import holm
from transfusion_core.reporting.statistics.paired import EQUIVALENCE_MARGIN, paired_t, tost
from transfusion_core.reporting.statistics.permutation import Permutation, permutation_test
from transfusion_core.reporting.statistics.power import MOST_SEEDS, seeds_needed
from transfusion_core.reporting.statistics.speed import SpeedUp, rounding_sd, speed_up
from transfusion_core.reporting.statistics.summary import CONFIDENCE, UNIT, Summary, spread_at_least, summarise
from transfusion_core.reporting.statistics.survival import RestrictedMean, log_rank, restricted_mean

__all__ = [
    "CONFIDENCE",
    "EQUIVALENCE_MARGIN",
    "MOST_SEEDS",
    "UNIT",
    "Counts",
    "Delong",
    "PairedDelong",
    "Permutation",
    "Resampled",
    "RestrictedMean",
    "SpeedUp",
    "Summary",
    "area_under_curve",
    "bootstrap_auc",
    "delong",
    "drawn_aucs",
    "draws_of",
    "holm",
    "log_rank",
    "paired_delong",
    "paired_t",
    "percentiles",
    "permutation_test",
    "restricted_mean",
    "rounding_sd",
    "seeds_needed",
    "speed_up",
    "spread_at_least",
    "summarise",
    "tost",
]
