"""Several measures of one pair at once: as one after the other, whatever the threads."""

import pytest
import torch
from torch import Tensor

from transfusion_core.science.similarity import MEASURES, Moments, measure
from transfusion_core.science.similarity.measures import Measured


def moments(n: int, p: int, q: int) -> Moments:
    """Sums over layers that share half of what they vary by."""
    generator = torch.Generator().manual_seed(0)
    x, noise = (torch.randn(n, width, generator=generator, dtype=torch.float64) for width in (p, q))
    made = Moments(p, q)
    made.update(x, x @ torch.randn(p, q, generator=generator, dtype=torch.float64) / p**0.5 + noise)
    return made


def numbers(one: Measured) -> Tensor:
    """All that it measures, in a row."""
    none = torch.empty(0, dtype=torch.float64)
    known = [number for number in (one.value, one.reverse, one.null_iid) if number is not None]
    return torch.cat([torch.tensor(known, dtype=torch.float64), none if one.correlations is None else one.correlations])


@pytest.mark.parametrize("p", [24, 300])
@pytest.mark.parametrize("q", [24, 280])
def test_measures_at_once_are_those_one_by_one(p: int, q: int) -> None:
    made, before = moments(900, p, q), torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        found = measure(made)
    finally:
        torch.set_num_threads(before)
    assert list(found) == list(MEASURES)
    for name, one in found.items():
        alone = MEASURES[name](moments(900, p, q).pair, 0.99)
        torch.testing.assert_close(numbers(one), numbers(alone), rtol=0, atol=1e-12)
        assert (one.kept_x, one.kept_y, one.warnings) == (alone.kept_x, alone.kept_y, alone.warnings), name


def test_measures_come_in_the_order_asked_for() -> None:
    assert list(measure(moments(90, 6, 5), ["procrustes", "cca", "svcca"])) == ["procrustes", "cca", "svcca"]


def test_a_measure_that_refuses_leaves_the_others() -> None:
    found = measure(moments(30, 40, 20), ["cca", "pwcca", "svcca", "cka"])
    assert found["cca"].value is None
    assert "30" in (found["cca"].reason or "")
    assert found["cka"].value is not None


def test_a_constant_layer_has_reasons() -> None:
    made = Moments(3, 2)
    made.update(torch.ones(9, 3), torch.randn(9, 2, generator=torch.Generator().manual_seed(1)))
    for name, one in measure(made).items():
        assert one.value is None, name
        assert one.reason, name


def test_an_unknown_measure_is_named() -> None:
    with pytest.raises(ValueError, match=r"unknown measures \['cka2'\]; known are cca, svcca"):
        measure(moments(9, 2, 2), ["cka", "cka2"])
