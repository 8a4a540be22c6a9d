"""Whether networks of one kind are less like those of another than the latter are among themselves.

Pairs that share a network are not independent: what is permuted is which networks are of which kind.
"""

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.05
MOST_ASSIGNMENTS = 10_000
"""So many assignments of kinds to networks are tried, all of them where there are no more."""
_TIE = 1e-12
"""Means of the same numbers in another order are the same."""


@dataclass(frozen=True)
class Permutation:
    """`difference`: mean similarity of the two kinds minus that within the second."""

    difference: float | None
    p_value: float | None = None
    """One-sided: that the difference is so low by chance."""
    assignments: int = 0
    exact: bool = False
    """Every assignment was tried; else so many were drawn, and p is (1 + as low) / (1 + drawn)."""
    reason: str | None = None
    """Why there is no p, or why it cannot be small."""


def permutation_test(
    similarity: NDArray[np.float64], first: NDArray[np.bool_], *, most: int = MOST_ASSIGNMENTS, seed: int = 0
) -> Permutation:
    """Test a symmetric matrix of similarities between networks (n, n); `first` (n,): which are of the first kind.

    The diagonal is not looked at. The second kind must have two networks, and no pair may be missing (NaN).
    """
    n, count = len(first), int(first.sum())
    if count < 1 or n - count < 2:
        return Permutation(None, reason=f"expected networks of both kinds, two of the second; got {count}, {n - count}")
    filled = np.where(np.eye(n, dtype=bool), 0.0, similarity)
    if missing := int(np.isnan(filled).sum()) // 2:
        return Permutation(None, reason=f"{missing} pairs of networks were not compared")
    seen = _differences(filled, first[None])[0]
    possible = comb(n, count)
    exact = possible <= most
    kinds = _all_assignments(n, count) if exact else _drawn_assignments(n, count, draws=most, seed=seed)
    as_low = int((_differences(filled, kinds) <= seen + _TIE).sum())
    p_value = as_low / possible if exact else (1 + as_low) / (1 + most)
    few = f"with {count} and {n - count} networks p cannot be below {1 / possible:.2g}"
    return Permutation(float(seen), p_value, len(kinds), exact, few if 1 / possible > LEVEL else None)


def _differences(similarity: NDArray[np.float64], first: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over pairs of both kinds minus mean over pairs of the second, for assignments (m, n)."""
    one, other = first.astype(np.float64), (~first).astype(np.float64)
    others = other.sum(axis=1)
    to_others = other @ similarity  # (m, n)
    across = (to_others * one).sum(axis=1) / (one.sum(axis=1) * others)
    within = (to_others * other).sum(axis=1) / (others * (others - 1))
    differences: NDArray[np.float64] = across - within
    return differences


def _all_assignments(n: int, count: int) -> NDArray[np.bool_]:
    kinds = np.zeros((comb(n, count), n), bool)
    for row, chosen in zip(kinds, combinations(range(n), count), strict=True):
        row[list(chosen)] = True
    return kinds


def _drawn_assignments(n: int, count: int, *, draws: int, seed: int) -> NDArray[np.bool_]:
    kinds = np.tile(np.arange(n) < count, (draws, 1))
    return np.random.default_rng(seed).permuted(kinds, axis=1)
