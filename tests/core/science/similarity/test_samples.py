"""Sample matrices: positions as samples, the same rows on both sides, whatever the batches."""

import pytest
import torch

from transfusion_core.science.similarity import channels_first, to_samples


def test_vectors_are_used_as_they_are():
    a, b = torch.randn(6, 3), torch.randn(6, 4)
    x, y = to_samples(a, b, positions_per_image=9, seed=0)
    assert torch.equal(x, a)
    assert torch.equal(y, b)


def test_within_the_budget_every_position_is_a_sample():
    a = torch.randn(2, 3, 4, 5)
    x, y = to_samples(a, a[:, :2], positions_per_image=20, seed=0)
    assert x.shape == (40, 3)
    assert torch.equal(x[20 + 7], a[1, :, 1, 2])
    assert torch.equal(y, x[:, :2])


def test_over_the_budget_both_sides_show_the_same_distinct_positions():
    a = torch.arange(2 * 49).reshape(2, 1, 7, 7)
    x, y = to_samples(a, 10 * a, positions_per_image=6, seed=3)
    assert x.shape == (12, 1)
    assert torch.equal(10 * x, y)
    assert len(x.unique()) == 12
    assert (x[:6] < 49).all()
    assert not torch.equal(x[:6], x[6:] - 49)  # every image draws its own


def test_positions_depend_on_seed_and_image_but_not_on_the_batch():
    a = torch.randn(7, 2, 8, 8)
    whole = to_samples(a, a, positions_per_image=5, seed=1).x
    parts = [
        to_samples(a[i:j], a[i:j], positions_per_image=5, seed=1, first_image=i).x for i, j in [(0, 3), (3, 4), (4, 7)]
    ]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(to_samples(a, a, positions_per_image=5, seed=2).x, whole)


def test_larger_maps_are_average_pooled_to_the_smaller():
    a, b = torch.randn(2, 3, 8, 6), torch.randn(2, 4, 4, 12)
    x, y = to_samples(a, b, positions_per_image=99, seed=0)
    assert x.shape == (2 * 4 * 6, 3)
    assert torch.allclose(x[0], a[0, :, :2, 0].mean(1))
    assert torch.allclose(y[0], b[0, :, 0, :2].mean(1))


def test_tokens_are_positions_and_averaged_when_their_numbers_differ():
    a, b = torch.randn(2, 16, 3), torch.randn(2, 16, 5)
    assert to_samples(a, b, positions_per_image=99, seed=0).x.shape == (32, 3)
    x, y = to_samples(a, b[:, :9], positions_per_image=99, seed=0)
    assert torch.allclose(x, a.mean(1))
    assert torch.allclose(y, b[:, :9].mean(1))


def test_a_map_meets_tokens_position_by_position_and_a_vector_by_its_mean():
    grid, tokens, vector = torch.randn(2, 3, 4, 4), torch.randn(2, 16, 5), torch.randn(2, 7)
    assert to_samples(grid, tokens, positions_per_image=99, seed=0).x.shape == (32, 3)
    x, y = to_samples(grid, vector, positions_per_image=99, seed=0)
    assert torch.allclose(x, grid.mean((2, 3)))
    assert torch.equal(y, vector)


def test_channels_last_maps_are_turned():
    a = torch.randn(2, 4, 5, 3)
    assert torch.equal(channels_first(a)[1, :, 2, 3], a[1, 2, 3])
    with pytest.raises(ValueError, match="channels last means"):
        channels_first(a[0])


def test_shapes_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="got 2 and 3 images"):
        to_samples(torch.zeros(2, 3), torch.zeros(3, 3), positions_per_image=1, seed=0)
    with pytest.raises(ValueError, match="at least one position"):
        to_samples(torch.zeros(2, 3), torch.zeros(2, 3), positions_per_image=0, seed=0)
    with pytest.raises(ValueError, match=r"\(n, tokens, c\) or \(n, c, h, w\), got \(2, 1, 1, 1, 1\)"):
        to_samples(torch.zeros(2, 1, 1, 1, 1), torch.zeros(2, 3), positions_per_image=1, seed=0)
