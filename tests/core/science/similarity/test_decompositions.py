"""Eigenvalues, as many eigenvectors as are asked for, singular values, and what is drawn from them."""

import numpy as np
import pytest
import torch

import similarity_reference as reference
from transfusion_core.science.similarity import Moments, decompositions, lapack, svcca
from transfusion_core.science.similarity.decompositions import (
    Eigen,
    gram,
    inverse_cholesky,
    left_singular,
    lower_matmul,
    matmul,
    nuclear_norm,
    singular_values,
)
from transfusion_core.science.similarity.pair import coherence


def symmetric(width, seed=0):
    rows = np.random.default_rng(seed).standard_normal((2 * width + 3, width))
    return torch.from_numpy(rows.T @ rows)


def with_values(values, generator, more=0):
    """A matrix (k, k + more) of these singular values."""
    k = len(values)
    left, right = (np.linalg.qr(generator.standard_normal((width, k)))[0] for width in (k, k + more))
    return torch.from_numpy(left * np.asarray(values) @ right.T)


@pytest.mark.parametrize("width", [1, 2, 3, 64, 150])
def test_eigenvalues_fall_and_vectors_are_theirs(width):
    matrix = symmetric(width)
    eigen = Eigen(matrix)
    np.testing.assert_allclose(eigen.values, np.linalg.eigvalsh(matrix)[::-1], rtol=1e-11, atol=1e-11)
    values, vectors = eigen.all
    np.testing.assert_allclose(matrix @ vectors, vectors * values, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(width), atol=1e-12)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (0, 7), (143, 150), (70, 72), (0, 60), (60, 150), (5, 5)])
def test_some_vectors_are_those_of_their_values(first, last):
    matrix = symmetric(150)
    eigen = Eigen(matrix)
    some = eigen.vectors(first, last)
    assert some.shape == (150, last - first)
    np.testing.assert_allclose(matrix @ some, some * eigen.values[first:last], atol=1e-9)
    np.testing.assert_allclose(some.T @ some, np.eye(last - first), atol=1e-11)
    whole = eigen.all[1][:, first:last]
    np.testing.assert_allclose((some * whole).sum(0).abs(), np.ones(last - first), atol=1e-10)
    assert torch.equal(eigen.vectors(first, last), whole)


def test_equal_eigenvalues_have_orthonormal_vectors(generator):
    basis = np.linalg.qr(generator.standard_normal((60, 60)))[0]
    values = np.r_[np.full(6, 5.0), np.full(48, 1.0), np.zeros(6)]
    eigen = Eigen(torch.from_numpy(basis * values @ basis.T))
    for first, last in [(0, 6), (54, 60), (10, 14)]:
        some = eigen.vectors(first, last)
        np.testing.assert_allclose(some.T @ some, np.eye(last - first), atol=1e-11)


def test_where_some_vectors_cannot_be_found_all_are(monkeypatch):
    def fail(*_):
        raise np.linalg.LinAlgError("dstemr failed: 22")

    monkeypatch.setattr(lapack, "some_eigenvectors", fail)
    matrix = symmetric(60)
    some = Eigen(matrix).vectors(0, 2)
    np.testing.assert_allclose(matrix @ some, some * torch.linalg.eigvalsh(matrix).flip(0)[:2], atol=1e-9)


def test_a_cholesky_factor_comes_with_its_inverse_or_not_at_all():
    matrix = symmetric(40)
    factor, inverse = inverse_cholesky(matrix)
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-9)
    np.testing.assert_allclose(inverse @ factor, np.eye(40), atol=1e-10)
    assert inverse_cholesky(matrix - 1e6 * torch.eye(40, dtype=torch.float64)) is None


def test_a_routine_that_fails_says_so():
    with pytest.raises(np.linalg.LinAlgError, match="dtrtri failed: 2"):
        lapack.invert_lower(np.diag([1.0, 0.0, 1.0]))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_products_are_the_same_on_any_number_of_threads(generator, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        factors = [torch.from_numpy(generator.standard_normal(shape)) for shape in [(301, 280), (280, 290), (290, 299)]]
        np.testing.assert_allclose(matmul(*factors), factors[0] @ factors[1] @ factors[2], atol=1e-9)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("k", "width"), [(1, 3), (3, 1), (7, 5), (301, 290)])
def test_a_triangle_is_multiplied_as_what_it_is(generator, threads, k, width):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        lower = torch.from_numpy(np.tril(generator.standard_normal((k, k))))
        other = torch.from_numpy(generator.standard_normal((k, width)))
        for left, right in [(lower, other), (lower.T.contiguous().T, other.T.contiguous().T)]:
            np.testing.assert_allclose(lower_matmul(left, right), lower @ other, atol=1e-9)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 4), (9, 9), (60, 200)])
def test_of_inner_products_the_half_is_made_that_is_decomposed(generator, shape):
    matrix = torch.from_numpy(generator.standard_normal(shape))
    for laid in (matrix, matrix.T.contiguous().T):
        np.testing.assert_allclose(gram(laid).triu(), (matrix @ matrix.T).triu(), atol=1e-12)
    np.testing.assert_allclose(Eigen(gram(matrix)).values, np.linalg.eigvalsh(matrix @ matrix.T)[::-1], atol=1e-10)


@pytest.mark.parametrize("by_torch", [False, True])
def test_the_widest_have_the_same_values_by_either_library(generator, monkeypatch, by_torch):
    monkeypatch.setattr(decompositions, "TORCH_IS_FASTER", by_torch)
    monkeypatch.setattr(decompositions, "_WIDEST", 50)
    values = np.logspace(0, -3, 60)
    assert nuclear_norm(with_values(values, generator)) == pytest.approx(values.sum(), rel=1e-9)
    np.testing.assert_allclose(singular_values(with_values(values, generator), 60), values, rtol=1e-9)
    factors = [torch.from_numpy(generator.standard_normal((300, 300))) for _ in range(3)]
    np.testing.assert_allclose(matmul(*factors), factors[0] @ factors[1] @ factors[2], atol=1e-9)


@pytest.mark.parametrize("smallest", [1e-2, 1e-6, 1e-12, 0.0])
def test_small_singular_values_keep_their_digits(generator, smallest):
    values = [1.0, 0.7, 0.5, 0.01, smallest]
    matrix = with_values(values, generator, more=3)
    np.testing.assert_allclose(singular_values(matrix, 5), values, atol=1e-14, rtol=1e-9)
    np.testing.assert_allclose(singular_values(matrix.T, 4), values[:4], rtol=1e-9)
    found, left = left_singular(matrix)
    np.testing.assert_allclose(found, values, atol=1e-14, rtol=1e-9)
    np.testing.assert_allclose((matrix.T @ left).norm(dim=0), values, atol=1e-14, rtol=1e-9)
    assert nuclear_norm(matrix) == pytest.approx(sum(values), rel=1e-9)


def test_the_values_of_nothing_are_zero():
    assert nuclear_norm(torch.zeros(3, 4, dtype=torch.float64)) == 0
    assert singular_values(torch.zeros(3, 4, dtype=torch.float64), 2).tolist() == [0, 0]
    assert singular_values(torch.zeros(3, 4, dtype=torch.float64), 0).tolist() == []


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (7, 40), (40, 7), (64, 64), (0, 3), (3, 0)])
def test_singular_values_are_those_of_the_matrix_itself(generator, shape):
    matrix = generator.standard_normal(shape)
    np.testing.assert_allclose(
        lapack.singular_values(matrix), np.linalg.svd(matrix, compute_uv=False), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("ends", [-3.0, -6.0, -7.5, -9.0])
@pytest.mark.parametrize("spectrum", ["falling", "one large", "half small", "half zero"])
def test_a_nuclear_norm_is_right_for_any_spectrum(generator, ends, spectrum):
    count, small = 80, 10.0**ends
    values = {
        "falling": np.logspace(0, ends, count),
        "one large": np.r_[1, np.full(count - 1, small)],
        "half small": np.r_[np.ones(count // 2), np.full(count - count // 2, small)],
        "half zero": np.r_[np.logspace(0, ends, count // 2), np.zeros(count - count // 2)],
    }[spectrum]
    assert nuclear_norm(with_values(values, generator)) == pytest.approx(values.sum(), rel=1e-9)


def scaled_layers(generator, small, of=50, count=3):
    """Layers (n, of) that share a signal, of which `count` directions have deviation `small`."""
    signal = generator.standard_normal((800, of))
    made = []
    for _ in range(2):
        turn = np.linalg.qr(generator.standard_normal((of, of)))[0]
        layer = (signal + generator.standard_normal((800, of))) @ turn
        layer[:, :count] *= small
        made.append(layer @ np.linalg.qr(generator.standard_normal((of, of)))[0])
    return made


@pytest.mark.parametrize(("small", "short"), [(0.02, True), (1e-5, False)])
def test_svcca_is_the_same_by_what_it_drops_and_by_what_it_keeps(generator, moments_of, small, short):
    """Few dropped directions are taken out of CCA's inner products, unless theirs are too small to be exact."""
    x, y = scaled_layers(generator, small)
    moments = moments_of(x, y)
    found = svcca(moments)
    assert 0 < 50 - found.kept.x <= 5
    assert (moments.pair.x.dropped(0.99) is not None) == short
    np.testing.assert_allclose(found.values, reference.svcca(x, y), atol=1e-8)
    kept = coherence(moments.pair, moments.pair.x.leading(0.99), moments.pair.y.leading(0.99))
    np.testing.assert_allclose(found.values, torch.linalg.svdvals(kept), atol=1e-9)


def test_what_svcca_drops_is_orthonormal_and_its_own(generator, moments_of):
    x, y = scaled_layers(generator, 0.02)
    side = moments_of(x, y).pair.x
    out = side.dropped(0.99)
    assert out.shape == (50, 50 - side.leading_count(0.99))
    np.testing.assert_allclose(out.T @ out, np.eye(out.shape[1]), atol=1e-10)
    kept = side.standardised.loadings.T @ side.leading(0.99).whitening
    np.testing.assert_allclose(kept.T @ out, np.zeros((kept.shape[1], out.shape[1])), atol=1e-10)


@pytest.mark.parametrize(("p", "q"), [(50, 8), (8, 50)])
def test_svcca_may_drop_much_of_one_layer_and_nothing_of_the_other(generator, moments_of, p, q):
    wide, narrow = generator.standard_normal((600, 50)) * 0.5 ** np.arange(50), generator.standard_normal((600, 8))
    narrow[:, 0] += wide[:, 0]
    x, y = (wide, narrow) if p == 50 else (narrow, wide)
    found = svcca(moments_of(x, y))
    assert sorted(found.kept) == [4, 8]
    np.testing.assert_allclose(found.values, reference.svcca(x, y), atol=1e-8)


def test_nothing_is_dropped_of_a_share_of_one(layers, moments_of):
    x, y = layers(300, 20, 20)
    moments = moments_of(x, y)
    assert moments.pair.x.dropped(1.0).shape == (20, 0)
    np.testing.assert_allclose(svcca(moments, variance=1.0).values, reference.cca(x, y), atol=1e-8)


def test_a_dead_neuron_leaves_the_way_by_what_is_kept(layers):
    x, y = layers(300, 20, 20)
    x[:, 3] = 7.0
    moments = Moments(20, 20)
    moments.update(x, y)
    assert moments.pair.x.dropped(0.99) is None
    np.testing.assert_allclose(svcca(moments).values, reference.svcca(x, y), atol=1e-8)
