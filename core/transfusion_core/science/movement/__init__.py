"""How far the weights of each layer moved between two states of one model."""

from transfusion_core.science.movement.filters import filter_correlations, filter_grid
from transfusion_core.science.movement.weights import (
    LayerMovement,
    MismatchedStates,
    cosine,
    relative_l2,
    weight_movement,
)

__all__ = [
    "LayerMovement",
    "MismatchedStates",
    "cosine",
    "filter_correlations",
    "filter_grid",
    "relative_l2",
    "weight_movement",
]
