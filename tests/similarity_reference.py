"""Slow, independent float64 versions of the similarity measures: whole matrices, QR and SVD, no moments."""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def centred(x: Matrix) -> Matrix:
    return x - x.mean(axis=0)


def basis(x: Matrix) -> Matrix:
    """Orthonormal basis of the centred columns, by SVD at numerical rank."""
    left, sizes, _ = np.linalg.svd(centred(x), full_matrices=False)
    return left[:, sizes > 1e-9 * sizes[0]]


def cca(x: Matrix, y: Matrix) -> Matrix:
    return np.linalg.svd(np.linalg.qr(centred(x))[0].T @ np.linalg.qr(centred(y))[0], compute_uv=False)


def cca_by_rank(x: Matrix, y: Matrix) -> Matrix:
    return np.linalg.svd(basis(x).T @ basis(y), compute_uv=False)


def leading(x: Matrix, variance: float) -> Matrix:
    """Scores on the leading principal components."""
    left, sizes, _ = np.linalg.svd(centred(x), full_matrices=False)
    share = np.cumsum(sizes**2) / np.sum(sizes**2)
    count = 1 + int(np.searchsorted(share, variance))
    return left[:, :count]


def svcca(x: Matrix, y: Matrix, variance: float = 0.99) -> Matrix:
    return np.linalg.svd(leading(x, variance).T @ leading(y, variance), compute_uv=False)


def pwcca(x: Matrix, y: Matrix) -> float:
    if basis(y).shape[1] < basis(x).shape[1]:
        x, y = y, x
    of_x, of_y = basis(x), basis(y)
    left, values, _ = np.linalg.svd(of_x.T @ of_y, full_matrices=False)
    weights = np.abs((of_x @ left).T @ centred(x)).sum(axis=1)
    return float(weights @ values / weights.sum())


def cka(x: Matrix, y: Matrix) -> float:
    k, l_ = centred(x) @ centred(x).T, centred(y) @ centred(y).T
    return float(np.sum(k * l_) / np.sqrt(np.sum(k * k) * np.sum(l_ * l_)))


def unbiased_hsic(x: Matrix, y: Matrix) -> float:
    """HSIC_1 on the Gram matrices themselves, as it is printed. Centring changes nothing but its rounding.

    tr(KL) and 1'KL1 are sums over entries and over rows: the product itself would take n**3 steps.
    """
    n, x, y = len(x), centred(x), centred(y)
    k, l_ = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l_, 0)
    mixed = k.sum(axis=0) @ l_.sum(axis=1)
    return float((np.sum(k * l_.T) + k.sum() * l_.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * mixed) / (n * (n - 3)))


def debiased_cka(x: Matrix, y: Matrix) -> float:
    return unbiased_hsic(x, y) / float(np.sqrt(unbiased_hsic(x, x) * unbiased_hsic(y, y)))


def procrustes(x: Matrix, y: Matrix) -> float:
    """Rotate explicitly and measure what is left; the narrower side is padded with dead neurons."""
    width = max(x.shape[1], y.shape[1])
    x, y = (np.pad(centred(each), ((0, 0), (0, width - each.shape[1]))) for each in (x, y))
    x, y = x / np.linalg.norm(x), y / np.linalg.norm(y)
    left, _, right = np.linalg.svd(y.T @ x)
    return float(np.linalg.norm(x - y @ left @ right) ** 2)


def r_squared(target: Matrix, source: Matrix) -> float:
    """Share of the target's variance that least squares with an intercept explains."""
    design = np.column_stack([np.ones(len(source)), source])
    residual = target - design @ np.linalg.lstsq(design, target, rcond=None)[0]
    return float(1 - np.sum(residual**2) / np.sum(centred(target) ** 2))


def noise_baseline(n: int, p: int, q: int, *, draws: int) -> float:
    generator = np.random.default_rng(0)
    means = [cca(generator.standard_normal((n, p)), generator.standard_normal((n, q))).mean() for _ in range(draws)]
    return float(np.mean(means))
