"""Products that are added in place, for samples in either order of memory."""

import numpy as np
import pytest

from transfusion_core.science.similarity import blas
from transfusion_core.science.similarity.products import is_intel

ORDERS = ["C", "F"]


@pytest.mark.parametrize("order_x", ORDERS)
@pytest.mark.parametrize("order_y", ORDERS)
@pytest.mark.parametrize("n", [1, 2, 300])
def test_a_product_is_added_to_what_is_there(order_x, order_y, n):
    generator = np.random.default_rng(n)
    x, y = (np.asarray(generator.standard_normal((n, p)), order=order) for p, order in ((5, order_x), (3, order_y)))
    total = np.ones((5, 3))
    blas.add_product(total, x, y)
    np.testing.assert_allclose(total, 1 + x.T @ y, atol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [1, 2, 300])
@pytest.mark.parametrize("upper", [False, True])
def test_a_square_is_added_to_one_triangle_alone(order, n, upper):
    x = np.asarray(np.random.default_rng(n).standard_normal((n, 4)), order=order)
    total = np.ones((4, 4))
    blas.add_square(total, x, upper=upper)
    mine, other = (np.triu, np.tril) if upper else (np.tril, np.triu)
    np.testing.assert_allclose(mine(total), mine(1 + x.T @ x), atol=1e-12)
    assert (other(total, 1 - 2 * upper) == other(np.ones((4, 4)), 1 - 2 * upper)).all()


def test_samples_that_lie_apart_in_memory_are_taken_together_first():
    wide = np.random.default_rng(0).standard_normal((50, 12))
    x, y = wide[:, 1:5], wide[::1, 6:9]
    total, square = np.zeros((4, 3)), np.zeros((4, 4))
    blas.add_product(total, x, y)
    blas.add_square(square, x)
    np.testing.assert_allclose(total, x.T @ y, atol=1e-12)
    np.testing.assert_allclose(np.tril(square), np.tril(x.T @ x), atol=1e-12)


def test_the_maker_of_the_cpu_is_read_from_the_system(tmp_path):
    told = tmp_path / "cpuinfo"
    assert not is_intel(told)
    told.write_text("vendor_id\t: AuthenticAMD\n")
    assert not is_intel(told)
    told.write_text("vendor_id\t: GenuineIntel\n")
    assert is_intel(told)
