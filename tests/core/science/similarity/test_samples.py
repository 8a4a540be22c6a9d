"""Sample matrices: positions as samples, the same rows on both sides, whatever the batches."""

from itertools import pairwise

import pytest
import torch

from transfusion_core.science.similarity import Network, Sampling, channels_first
from transfusion_core.science.similarity.samples import (
    PAPER_CHANNELS,
    PAPER_SAMPLES,
    common_grid,
    draw_channels,
    draw_positions,
    pair_of,
    paired_cuts,
    shape_of,
    take,
)
from transfusion_core.specs import comparison


def to_samples(*layers, positions, seed=0, first=0, total=100):
    """The samples of two layers as a pass takes them, (rows, channels) each."""
    grids = common_grid(*(shape_of(layer).grid for layer in layers))
    count = grids[0] and torch.Size(grids[0]).numel()
    drawn = None
    if count and count > positions:
        images = range(first, first + len(layers[0]))
        drawn = draw_positions(images, total=total, of=count, budget=positions, seed=seed)
    return tuple(take(layer, grid, drawn).flatten(0, 1) for layer, grid in zip(layers, grids, strict=True))


def test_vectors_are_used_as_they_are():
    a, b = torch.randn(6, 3), torch.randn(6, 4)
    x, y = to_samples(a, b, positions=9)
    assert torch.equal(x, a)
    assert torch.equal(y, b)


def test_within_the_budget_every_position_is_a_sample():
    a = torch.randn(2, 3, 4, 5)
    x, y = to_samples(a, a[:, :2], positions=20)
    assert x.shape == (40, 3)
    assert torch.equal(x[20 + 7], a[1, :, 1, 2])
    assert torch.equal(y, x[:, :2])


def test_over_the_budget_both_sides_show_the_same_distinct_positions():
    a = torch.arange(4 * 49).reshape(4, 1, 7, 7)
    x, y = to_samples(a, 10 * a, positions=6, seed=3)
    assert x.shape == (24, 1)
    assert torch.equal(10 * x, y)
    assert len(x.unique()) == 24
    places = x.view(4, 6) - 49 * torch.arange(4)[:, None]
    assert ((places >= 0) & (places < 49)).all()
    assert torch.equal(places[0], places[1])  # a pair of images shows the same
    assert torch.equal(places[2], places[3])
    assert not torch.equal(places[0], places[2])


@pytest.mark.parametrize(
    ("total", "pairs"), [(1, [0]), (2, [0, 0]), (3, [0, 0, 0]), (6, [0, 0, 1, 1, 2, 2]), (7, [0, 0, 1, 1, 2, 2, 2])]
)
def test_every_image_has_a_pair_and_no_cut_parts_it(total, pairs):
    assert [pair_of(image, total=total) for image in range(total)] == pairs
    for count in range(1, max(total // 2, 1) + 1):
        cuts = paired_cuts(total, count)
        assert (cuts[0], cuts[-1], len(cuts)) == (0, total, count + 1)
        parts = [set(pairs[first:last]) for first, last in pairwise(cuts)]
        assert all(parts)
        assert sum(map(len, parts)) == len(set(pairs))


def test_positions_depend_on_seed_and_image_but_not_on_the_batch():
    a = torch.randn(7, 2, 8, 8)
    whole = to_samples(a, a, positions=5, seed=1)[0]
    parts = [to_samples(a[i:j], a[i:j], positions=5, seed=1, first=i)[0] for i, j in [(0, 3), (3, 4), (4, 7)]]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(to_samples(a, a, positions=5, seed=2)[0], whole)


def test_larger_maps_are_average_pooled_to_the_smaller():
    a, b = torch.randn(2, 3, 8, 6), torch.randn(2, 4, 4, 12)
    x, y = to_samples(a, b, positions=99)
    assert x.shape == (2 * 4 * 6, 3)
    assert torch.allclose(x[0], a[0, :, :2, 0].mean(1))
    assert torch.allclose(y[0], b[0, :, 0, :2].mean(1))


def test_tokens_are_positions_and_averaged_when_their_numbers_differ():
    a, b = torch.randn(2, 16, 3), torch.randn(2, 16, 5)
    assert to_samples(a, b, positions=99)[0].shape == (32, 3)
    x, y = to_samples(a, b[:, :9], positions=99)
    assert torch.allclose(x, a.mean(1))
    assert torch.allclose(y, b[:, :9].mean(1))


def test_a_map_meets_tokens_position_by_position_and_a_vector_by_its_mean():
    grid, tokens, vector = torch.randn(2, 3, 4, 4), torch.randn(2, 16, 5), torch.randn(2, 7)
    assert to_samples(grid, tokens, positions=99)[0].shape == (32, 3)
    x, y = to_samples(grid, vector, positions=99)
    assert torch.allclose(x, grid.mean((2, 3)))
    assert torch.equal(y, vector)


def test_channels_last_maps_are_turned():
    a = torch.randn(2, 4, 5, 3)
    assert torch.equal(channels_first(a)[1, :, 2, 3], a[1, 2, 3])
    with pytest.raises(ValueError, match="channels last means"):
        channels_first(a[0])


def test_shapes_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"\(n, tokens, c\) or \(n, c, h, w\), got \(2, 1, 1, 1, 1\)"):
        shape_of(torch.zeros(2, 1, 1, 1, 1))
    for wrong in ({"positions_per_image": 0}, {"channels": 0}, {"draws": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: at least 1 expected, got 0"):
            Sampling(**wrong)


def test_the_class_token_is_apart_from_the_places():
    tokens = torch.randn(2, 17, 3)
    network = Network(torch.nn.Identity(), prefix_tokens=1)
    assert torch.equal(network.read("blocks.1", tokens), tokens[:, 1:])
    assert torch.equal(network.read("blocks.1[class]", tokens), tokens[:, 0])
    for of, output in [(network, torch.zeros(2, 3)), (Network(torch.nn.Identity()), tokens)]:
        with pytest.raises(ValueError, match="no class token"):
            of.read("blocks.1[class]", output)


def test_a_layer_may_be_without_the_tokens_that_others_have():
    tokens = torch.randn(2, 16, 3)
    network = Network(torch.nn.Identity(), prefix_tokens=1, without_prefix={"embeds.proj"})
    assert torch.equal(network.read("embeds.proj", tokens), tokens)
    assert torch.equal(network.read("blocks.1", tokens), tokens[:, 1:])
    with pytest.raises(ValueError, match="no class token"):
        network.read("embeds.proj[class]", tokens)


def test_channels_are_drawn_alike_for_layers_of_one_width():
    chosen = draw_channels(200, budget=64, draw=0, seed=3)
    assert torch.equal(chosen, draw_channels(200, budget=64, draw=0, seed=3))
    assert len(chosen.unique()) == 64
    assert not torch.equal(chosen, draw_channels(200, budget=64, draw=1, seed=3))
    assert torch.equal(draw_channels(50, budget=64, draw=0, seed=3), torch.arange(50))


def test_the_papers_protocol_is_the_one_that_specs_count_with():
    assert (PAPER_CHANNELS, PAPER_SAMPLES) == (comparison.PAPER_CHANNELS, comparison.PAPER_SAMPLES)
    assert Sampling.paper(1000) == Sampling(positions_per_image=10, seed=0, channels=64, draws=5)
    assert Sampling.paper(50_000).positions_per_image == 1
