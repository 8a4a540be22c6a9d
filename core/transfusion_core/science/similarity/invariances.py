"""What may be done to a layer without moving a measure: promised here, and held by a test in both directions."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Change: TypeAlias = Literal["shift", "common scale", "order of neurons", "rotation", "neuron scale", "invertible map"]
"""Of all neurons alike: adding a constant to each; one factor for all; another order; an orthogonal map; a factor for
each; any invertible linear map.
"""

_SHIFT_AND_SCALE: frozenset[Change] = frozenset({"shift", "common scale", "order of neurons"})
_ORTHOGONAL: frozenset[Change] = _SHIFT_AND_SCALE | {"rotation"}
_EVERY: frozenset[Change] = _ORTHOGONAL | {"neuron scale", "invertible map"}


@dataclass(frozen=True)
class Invariances:
    """Changes of either layer that leave a measure as it is.

    `reference`: the layer that sets the weights (PWCCA: with fewer kept directions) or is explained (regression: the
    first); for the other measures both layers are alike. `symmetric`: the order of the layers does not matter.
    """

    reference: frozenset[Change]
    other: frozenset[Change]
    symmetric: bool = True


INVARIANCES: dict[str, Invariances] = {
    "cca": Invariances(_EVERY, _EVERY),
    "svcca": Invariances(_ORTHOGONAL, _ORTHOGONAL),
    "pwcca": Invariances(_SHIFT_AND_SCALE, _EVERY),
    "cka": Invariances(_ORTHOGONAL, _ORTHOGONAL),
    "cka_debiased": Invariances(_ORTHOGONAL, _ORTHOGONAL),
    "procrustes": Invariances(_ORTHOGONAL, _ORTHOGONAL),
    "regression": Invariances(_ORTHOGONAL, _EVERY, symmetric=False),
}
"""PWCCA is symmetric where the layers keep different numbers of directions; else the first is the reference."""
