"""Products of a block of samples, whichever library makes them."""

import pytest
import torch

from transfusion_core.science.similarity import products


@pytest.mark.parametrize("torch_is_faster", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("outermost", [False, True])
@pytest.mark.parametrize("p", [1, 47, 100, 200, 520])
def test_a_square_is_added_to_the_lower_triangle(torch_is_faster, dtype, outermost, p, monkeypatch):
    monkeypatch.setattr(products, "TORCH_IS_FASTER", torch_is_faster)
    generator = torch.Generator().manual_seed(p)
    x = torch.randn((p, 60) if outermost else (60, p), dtype=dtype, generator=generator)
    x = x.T if outermost else x
    total = torch.ones(p, p, dtype=torch.float64)
    products.add_product(total, x, x, "float64" if dtype == torch.float64 else "float32")
    torch.testing.assert_close(
        total.tril(), (1 + x.double().T @ x.double()).tril(), rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-4
    )
    products.mirror(total)
    assert torch.equal(total, total.T)
