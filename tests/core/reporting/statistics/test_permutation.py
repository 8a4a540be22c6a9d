"""The permutation test over networks."""

import numpy as np
import pytest
from numpy.typing import NDArray

from transfusion_core.reporting.statistics import permutation_test


def _similarities(generator: np.random.Generator, first: NDArray[np.bool_], lower: float = 0.0) -> NDArray[np.float64]:
    """Similarities of networks that each have a level of their own; pairs of both kinds are `lower`."""
    n = len(first)
    own = generator.normal(0, 0.05, n)
    noise = generator.normal(0, 0.02, (n, n))
    return 0.5 + own[:, None] + own[None] + (noise + noise.T) / 2 - lower * (first[:, None] != first[None])


def test_a_planted_difference_gets_the_smallest_p_that_there_is() -> None:
    first = np.arange(8) < 4
    found = permutation_test(_similarities(np.random.default_rng(0), first, lower=0.5), first)
    assert found.difference == pytest.approx(-0.5, abs=0.1)
    assert (found.exact, found.assignments, found.reason) == (True, 70, None)
    assert found.p_value is not None
    assert found.p_value <= 2 / 70 + 1e-9, "with the kinds named the other way round it can be as low"


@pytest.mark.parametrize(("count", "n", "most", "studies"), [(4, 9, 10_000, 1000), (8, 16, 99, 1000)])
def test_it_keeps_its_level_though_pairs_share_networks(count: int, n: int, most: int, studies: int) -> None:
    generator, first = np.random.default_rng(1), np.arange(n) < count
    found = [permutation_test(_similarities(generator, first), first, most=most, seed=s) for s in range(studies)]
    assert found[0].exact == (most == 10_000)
    assert 0.03 <= np.mean([one.p_value is not None and one.p_value <= 0.05 for one in found]) <= 0.066


def test_drawn_assignments_never_give_a_p_of_zero() -> None:
    first = np.arange(20) < 10
    found = permutation_test(_similarities(np.random.default_rng(2), first, lower=2.0), first, most=200, seed=1)
    assert (found.exact, found.assignments) == (False, 200)
    assert found.p_value == pytest.approx(1 / 201)


def test_two_and_two_networks_cannot_tell_and_say_so() -> None:
    first = np.arange(4) < 2
    found = permutation_test(_similarities(np.random.default_rng(3), first, lower=0.5), first)
    assert found.p_value is not None
    assert found.p_value >= 1 / 6
    assert found.reason == "with 2 and 2 networks p cannot be below 0.17"


def test_missing_networks_and_pairs_are_said() -> None:
    assert "two of the second; got 1, 1" in (permutation_test(np.ones((2, 2)), np.array([True, False])).reason or "")
    holes = np.ones((5, 5))
    holes[0, 3] = holes[3, 0] = np.nan
    found = permutation_test(holes, np.arange(5) < 2)
    assert (found.p_value, found.reason) == (None, "1 pairs of networks were not compared")
