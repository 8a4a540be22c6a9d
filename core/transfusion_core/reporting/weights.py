"""Weight tensors of two networks beside each other: how far they moved, and what they hold in common."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from transfusion_core.reporting.means import mean_row
from transfusion_core.reporting.study import Pair
from transfusion_core.specs.comparison import WeightMovement
from transfusion_core.specs.report import Row


def tensor_rows(pairs: Sequence[Pair], measure: str, words: dict[str, Any]) -> Iterator[Row]:
    """A row per weight tensor, input to output: the mean of a measure over pairs; none where shapes differ."""
    layers: dict[str, list[WeightMovement]] = defaultdict(list)
    for pair in pairs:
        for moved in pair.result.weights if pair.result else ():
            layers[moved.layer].append(moved)
    for stage, (layer, found) in enumerate(layers.items(), start=1):
        values = [value for moved in found if (value := getattr(moved, measure)) is not None]
        reasons = [moved.reason for moved in found if moved.reason]
        reason = reasons[0] if reasons else "not measured"
        yield mean_row(values, reason, **words, layer=layer, measure=measure, stage=stage)
