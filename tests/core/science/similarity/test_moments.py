"""Moments: one answer for every split of the samples, and no digits lost to a mean."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transfusion_core.science.similarity import (
    Moments,
    NonFiniteActivations,
    cca,
    linear_cka,
    linear_regression,
    procrustes,
    pwcca,
    svcca,
)
from transfusion_core.science.similarity.products import squared


def assert_same(one, other, *, rtol=1e-11):
    assert one.n == other.n
    mine, theirs = one.save(), other.save()
    size = max(float(theirs[name].abs().max()) for name in ("mean_x", "mean_y", "sxx", "syy"))
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=rtol, atol=rtol * size)


def test_one_batch_gives_the_textbook_scatter(layers, moments_of):
    x, y = layers()
    moments = moments_of(x, y)
    np.testing.assert_allclose(moments.sxx / (moments.n - 1), np.cov(x.T), rtol=1e-12)
    np.testing.assert_allclose(moments.sxy, (x - x.mean(0)).T @ (y - y.mean(0)), rtol=1e-11)
    np.testing.assert_allclose(moments.mean_y, y.mean(0), rtol=1e-13)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6), p=st.integers(1, 6), q=st.integers(1, 6))
def test_streaming_and_merging_equal_one_shot(sizes, p, q):
    generator = np.random.default_rng([*sizes, p, q])
    x, y = generator.standard_normal((sum(sizes), p)) + 4, generator.standard_normal((sum(sizes), q)) ** 3
    whole, streamed, merged = Moments(p, q), Moments(p, q), Moments(p, q)
    whole.update(x, y)
    start = 0
    for size in sizes:
        part, rows = Moments(p, q), slice(start, start + size)
        part.update(x[rows], y[rows])
        streamed.update(x[rows], y[rows])
        merged.merge(part)
        start += size
    assert_same(streamed, whole, rtol=1e-9)
    assert_same(merged, whole, rtol=1e-9)


def test_sample_by_sample_equals_one_shot(layers, moments_of):
    x, y = layers(60)
    moments = Moments(8, 5)
    for row in range(60):
        moments.update(x[row : row + 1], y[row : row + 1])
    assert_same(moments, moments_of(x, y), rtol=1e-10)


def test_merge_is_symmetric_returns_itself_and_leaves_the_other_alone(layers, moments_of):
    x, y = layers()
    first, second = moments_of(x[:100], y[:100]), moments_of(x[100:], y[100:])
    kept = second.save()
    there, back = moments_of(x[:100], y[:100]).merge(second), moments_of(x[100:], y[100:]).merge(first)
    assert_same(there, back)
    assert first.merge(second) is first
    assert all(torch.equal(kept[name], tensor) for name, tensor in second.save().items())


def test_merging_itself_doubles_every_sample(layers, moments_of):
    x, y = layers()
    moments = moments_of(x, y)
    assert_same(moments.merge(moments), moments_of(np.vstack([x, x]), np.vstack([y, y])))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_large_mean_costs_no_digits(generator, moments_of, dtype):
    x = (generator.standard_normal((4000, 6)) + 1e5).astype(dtype)
    y = (x[:, :4].astype(np.float64) - 1e5 + generator.standard_normal((4000, 4)) + 1e5).astype(dtype)
    exact_x, exact_y = x.astype(np.float64) - 1e5, y.astype(np.float64) - 1e5
    moments = Moments(6, 4)
    for rows in np.array_split(np.arange(4000), 7):
        moments.update(x[rows], y[rows])
    expected = moments_of(exact_x, exact_y)
    np.testing.assert_allclose(moments.sxx, expected.sxx, rtol=1e-10, atol=1e-6)
    np.testing.assert_allclose(cca(moments).values, cca(expected).values, atol=1e-9)
    assert linear_cka(moments, debiased=True) == pytest.approx(linear_cka(expected, debiased=True), abs=1e-7)


def test_a_neuron_that_never_varies_has_exactly_no_variance(moments_of):
    x = np.full((1000, 2), 0.1)
    moments = Moments(2, 2)
    for rows in np.array_split(np.arange(1000), 9):
        moments.update(x[rows], x[rows])
    assert not moments.sxx.any()


def test_what_was_saved_loads_as_the_same_moments(layers, moments_of):
    x, y = layers()
    moments = moments_of(x, y)
    loaded = Moments.load(moments.save())
    assert_same(loaded, moments, rtol=0)
    loaded.update(x, y)
    assert (loaded.n, moments.n) == (600, 300)
    with pytest.raises(KeyError):
        Moments.load({"mean_x": moments.mean_x, "mean_y": moments.mean_y})


def test_saved_tensors_share_no_memory(layers, moments_of):
    moments = moments_of(*layers())
    saved = moments.save()
    saved["sxx"].zero_()
    assert moments.sxx.any()
    assert len({tensor.data_ptr() for tensor in saved.values()}) == len(saved)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_every_dtype_of_torch_is_read_at_its_own_precision(dtype):
    x = torch.arange(12).reshape(6, 2).to(dtype)
    moments = Moments(2, 2)
    moments.update(x, x)
    assert moments.sxx.dtype == torch.float64
    assert moments.sxx[0, 0] == 70  # 4 (6.25 + 2.25 + 0.25) 2
    assert moments.resolution_x == (torch.finfo(dtype).eps if dtype.is_floating_point else 2**-52)


def test_numpy_arrays_that_are_read_only_reversed_or_long_are_read():
    x = np.arange(12.0).reshape(6, 2)
    x.flags.writeable = False
    moments, expected = Moments(2, 2), Moments(2, 2)
    moments.update(x[::-1], x.astype(np.longdouble)[::-1])
    expected.update(x, x)
    assert_same(moments, expected)


def test_tensors_that_want_gradients_are_read_without_them():
    moments = Moments(1, 1)
    moments.update(torch.ones(3, 1, requires_grad=True), torch.ones(3, 1))
    assert not moments.sxx.requires_grad


def test_shapes_that_do_not_fit_are_refused_by_name():
    moments = Moments(2, 3)
    for x, y in [((4, 3), (4, 2)), ((4, 2), (5, 3)), ((4,), (4, 3))]:
        with pytest.raises(ValueError, match=r"expected x \(n, 2\) and y \(n, 3\)"):
            moments.update(torch.zeros(x), torch.zeros(y))
    with pytest.raises(ValueError, match="cannot merge"):
        moments.merge(Moments(3, 2))
    with pytest.raises(ValueError, match="at least one neuron"):
        Moments(0, 3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused_before_anything_is_added(bad):
    moments = Moments(2, 2)
    moments.update(torch.eye(2), torch.eye(2))
    before = moments.save()
    with pytest.raises(NonFiniteActivations, match="y holds NaN or infinity"):
        moments.update(torch.eye(2), torch.tensor([[1.0, 2.0], [bad, 0.0]]))
    assert all(torch.equal(before[name], tensor) for name, tensor in moments.save().items())


def test_numbers_whose_moments_would_overflow_are_refused():
    with pytest.raises(NonFiniteActivations, match=r"expected none beyond 1e\+70"):
        Moments(1, 1).update(np.array([[0.0], [1e71]]), np.zeros((2, 1)))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("large", [1e12, 1.5e19, 3e38, np.inf, np.nan])
def test_what_float32_products_cannot_hold_is_refused_without_a_warning(generator, large, order):
    x = np.asarray(generator.standard_normal((100, 40)), dtype=np.float32, order=order)
    x[0], x[1:50] = -large, large
    moments = Moments(40, 40, gemm="float32")
    with pytest.raises(NonFiniteActivations, match=r"expected none beyond 1e\+11|holds NaN or infinity"):
        moments.update(x, x)
    assert moments.n == 0


def test_the_largest_that_float32_products_hold_give_the_values_of_float64(generator):
    x = generator.standard_normal((3000, 6)) + np.outer(generator.standard_normal(3000), np.ones(6))
    x *= 0.9e11 / np.linalg.norm(x, axis=1).max() / 2
    found = []
    for gemm in ("float32", "float64"):
        moments = Moments(6, 6, gemm=gemm)
        moments.update(x.astype(np.float32), x[:, ::-1].astype(np.float32))
        found.append(linear_cka(moments, debiased=True))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_a_measure_sees_samples_that_came_after_the_last_measure(layers, moments_of):
    x, y = layers()
    moments = moments_of(x[:150], y[:150])
    cca(moments)
    moments.update(x[150:], y[150:])
    np.testing.assert_allclose(cca(moments).values, cca(moments_of(x, y)).values, atol=1e-10)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 5, 40])
def test_every_position_of_feature_maps_is_a_sample_in_whatever_order_memory_has_them(memory, side):
    generator = torch.Generator().manual_seed(side)
    x, y = (torch.randn(7, width, side, side, generator=generator).to(memory_format=memory) for width in (6, 9))
    by_maps, by_rows = Moments(6, 9), Moments(6, 9)
    by_maps.update_maps(x, y)
    by_rows.update(*(maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]) for maps in (x, y)))
    assert by_maps.n == by_rows.n == 7 * side * side
    for name in ("mean_x", "mean_y", "sxx", "sxy", "syy"):
        torch.testing.assert_close(getattr(by_maps, name), getattr(by_rows, name), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("gemm", "off"), [("float64", 1e-4), ("float32", 20)])  # of sums of 1.6e7
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.uint8])
def test_blocks_that_take_turns_in_memory_are_summed_as_one(dtype, gemm, off, monkeypatch):
    monkeypatch.setattr("transfusion_core.science.similarity.moments._MAPS_NUMBERS", 1)
    x, y = (
        (torch.randn(9, width, 33, 33, generator=torch.Generator().manual_seed(1)) * 40 + 99).to(dtype)
        for width in (6, 9)
    )
    by_blocks, by_rows = Moments(6, 9, gemm=gemm), Moments(6, 9, gemm=gemm)
    by_blocks.update_maps(x, y)
    by_rows.update(*(maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1]) for maps in (x, y)))
    assert by_blocks.n == by_rows.n == 9 * 33 * 33
    for name in ("sxx", "sxy", "syy"):
        torch.testing.assert_close(getattr(by_blocks, name), getattr(by_rows, name), rtol=0, atol=off)


def test_maps_of_other_sizes_or_widths_are_refused_and_leave_nothing_behind():
    moments, maps = Moments(6, 9), torch.randn(3, 6, 4, 4)
    for other in (torch.randn(3, 9, 4, 5), torch.randn(2, 9, 4, 4), torch.randn(3, 9, 16), maps):
        with pytest.raises(ValueError, match=r"expected x \(n, 6, h, w\) and y \(n, 9, h, w\)"):
            moments.update_maps(maps, other)
    broken = torch.randn(40, 9, 8, 8)
    broken[-1] = torch.nan
    with pytest.raises(NonFiniteActivations):
        moments.update_maps(torch.randn(40, 6, 8, 8), broken)
    assert moments.n == 0


@pytest.mark.parametrize("grow", ["update", "merge"])
def test_what_was_read_stays_as_it_was_when_more_samples_come(layers, moments_of, grow):
    x, y = layers()
    moments = Moments.load(moments_of(x, y).save())  # about its means: nothing is left to move
    read = {name: getattr(moments, name) for name in ("sxx", "sxy", "syy", "mean_x")}
    before = {name: found.clone() for name, found in read.items()}
    if grow == "update":
        moments.update(x, y)
    else:
        moments.merge(moments_of(x, y))
    assert all(torch.equal(read[name], before[name]) for name in read)
    assert not torch.equal(moments.sxx, before["sxx"])


@pytest.mark.parametrize("gemm", ["float64", "float32"])
def test_without_scatters_there_is_procrustes_alone_and_the_same(layers, moments_of, gemm):
    x, y = layers(500, 9, 6)
    whole, half = moments_of(x, y), Moments(9, 6, gemm=gemm, scatters=False)
    for rows in (slice(0, 77), slice(77, 500)):
        half.update(x[rows], y[rows])
    half = Moments.load(half.save())
    tolerance = 1e-12 if gemm == "float64" else 1e-6
    assert procrustes(half) == pytest.approx(procrustes(whole), abs=tolerance)
    np.testing.assert_allclose(half.sxy, whole.sxy, rtol=1e-5, atol=1e-2)
    for refused in (cca, svcca, pwcca, linear_cka, partial(linear_cka, debiased=True), linear_regression):
        with pytest.raises(ValueError, match="layers' own scatters, got some for Procrustes alone"):
            refused(half)


def test_moments_with_and_without_scatters_do_not_merge(layers, moments_of):
    whole, half = moments_of(*layers()), Moments(8, 5, scatters=False)
    for one, other in ((whole, half), (half, whole)):
        with pytest.raises(ValueError, match="own scatters and moments without"):
            one.merge(other)
    assert (whole.n, half.n) == (300, 0)


def test_without_scatters_a_mean_may_wander_and_moments_merge(generator):
    x = np.concatenate([generator.standard_normal((300, 4)) + 1e4 * step for step in range(3)])
    y = x[:, :3] + generator.standard_normal((900, 3))
    whole, parts = Moments(4, 3), [Moments(4, 3, scatters=False) for _ in range(2)]
    whole.update(x, y)
    for part, rows in zip(parts, (slice(0, 450), slice(450, 900)), strict=True):
        for first in range(rows.start, rows.stop, 150):
            part.update(x[first : first + 150], y[first : first + 150])
    assert procrustes(parts[0].merge(parts[1])) == pytest.approx(procrustes(whole), abs=1e-10)


@pytest.mark.parametrize("rows", [1, 31, 32, 100])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_squares_are_summed_in_float64(generator, rows, order, dtype):
    samples = np.asarray(generator.standard_normal((rows, 5)), dtype=dtype, order=order)
    lengths, squares = squared(torch.from_numpy(samples))
    assert lengths.dtype == squares.dtype == torch.float64
    np.testing.assert_allclose(lengths, (samples.astype(float) ** 2).sum(1), rtol=1e-6)
    np.testing.assert_allclose(squares, (samples.astype(float) ** 2).sum(0), rtol=1e-6)


def test_float32_products_of_relus_stay_within_what_is_stated(generator):
    x = np.maximum(generator.standard_normal((20_000, 64)) + generator.standard_normal((20_000, 1)), 0).astype("f4")
    exact, fast = Moments(64, 64), Moments(64, 64, gemm="float32")
    for moments in (exact, fast):
        moments.update(x, x[:, ::-1])
    norms = exact.sxx.diagonal().sqrt()
    off = (fast.sxx - exact.sxx).abs() / torch.outer(norms, norms)
    assert off.max() < 4e-6
    assert off.square().mean().sqrt() < 1e-6
