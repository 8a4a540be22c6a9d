"""Trained networks against each other: is one kind less like random ones than those are among themselves?"""

import numpy as np

from transfusion_core.reporting.statistics import Permutation, permutation_test
from transfusion_core.reporting.study import Arm, Pair, Study

TOP_LAYERS = 2
"""Figure 2 averages the top two layers."""

DISTANCES = frozenset({"procrustes"})
"""Measures that are the higher, the less alike two networks are."""

Network = tuple[str, str | None, int]


def likeness(pair: Pair, measure: str) -> list[float | None]:
    """A measure's values from the lowest layer to the highest, the higher, the more alike; distances are negative."""
    sign = -1 if measure in DISTANCES else 1
    found = [each.value for each in pair.result.results if each.measure == measure] if pair.result else []
    return [None if value is None else sign * value for value in found]


def top_likeness(pair: Pair, measure: str) -> float | None:
    """Mean over the top layers of one pair of networks; None unless all of them have a value."""
    top = likeness(pair, measure)[-TOP_LAYERS:]
    values = [value for value in top if value is not None]
    return sum(values) / len(values) if values and len(values) == len(top) else None


def network_test(study: Study, arm: Arm, measure: str) -> Permutation:
    """Permutation test, over networks, that the arm's are as like random ones as those are among themselves."""
    values: dict[frozenset[Network], float] = {}
    kinds = {(arm.init, arm.source): True, ("random", None): False}
    networks: dict[Network, bool] = {}
    for pair in study.done("similarity"):
        sides = [(side["init"], side["source"], side["seed"]) for side in (pair.a, pair.b)]
        here = (pair.model, pair.train_size) == (arm.model, arm.train_size)
        if here and all(side[:2] in kinds for side in sides):
            networks |= {side: kinds[side[:2]] for side in sides}
            value = top_likeness(pair, measure)
            values[frozenset(sides)] = np.nan if value is None else value
    names = list(networks)
    matrix = np.array([[values.get(frozenset((a, b)), np.nan) for b in names] for a in names], dtype=np.float64)
    return permutation_test(matrix.reshape(len(names), len(names)), np.array([networks[name] for name in names], bool))
