"""How far the weights of each layer moved between two states of one model."""

from transfusion_core.science.movement.filters import filter_correlations
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
    "relative_l2",
    "weight_movement",
]
