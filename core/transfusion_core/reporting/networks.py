"""Figure 2's question, asked of networks: are those of an init less like random's than random's among themselves?"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from transfusion_core.reporting.statistics import Permutation, permutation_test
from transfusion_core.reporting.study import Arm, Pair

Network = tuple[str, str | None, int]
"""Init, source, seed."""


def permuted(pairs: Iterable[Pair], arm: Arm, value_of: Callable[[Pair], float | None]) -> Permutation:
    """The permutation test of an arm against random, over all comparisons of both that have a value."""
    kinds = ((arm.init, arm.source), ("random", None))
    values: dict[frozenset[Network], float] = {}
    for pair in pairs:
        sides = [_network(side) for side in (pair.a, pair.b)]
        if all(side[:2] in kinds for side in sides) and (value := value_of(pair)) is not None:
            values[frozenset(sides)] = value
    networks = sorted({network for sides in values for network in sides}, key=lambda each: (each[0], each[2]))
    similarity = [[values.get(frozenset((a, b)), np.nan) for b in networks] for a in networks]
    first = np.array([network[:2] == kinds[0] for network in networks], bool)
    return permutation_test(np.array(similarity, np.float64), first)


def _network(side: dict[str, Any]) -> Network:
    return side["init"], side["source"], side["seed"]
