"""What the measures say of independent Gaussian noise: the value that a similarity has to exceed to mean
anything.

These baselines hold for n independent samples. Positions of one image are not independent, which lifts the
true null.
"""

from functools import lru_cache
from math import pi, sqrt

import numpy as np

# Up to this many correlations the exact law is drawn; beyond, the limit law is off by less than 0.06 /
# dimension.
_LARGEST_DRAWN = 32
# Midpoints of the integral over the limit law; the error falls with the square and is below 1e-7 here.
_MIDPOINTS = 20_000


@lru_cache(maxsize=4096)
def iid_baseline(n: int, p: int, q: int) -> float:
    """Return the expected mean canonical correlation of n samples of p and q independent Gaussian noise
    neurons.

    The correlations are cosines of the angles between random subspaces of the n - 1 dimensions of centred
    samples (Jacobi, or MANOVA, ensemble). When p + q > n - 1 the subspaces meet and that many cosines are 1.
    The others come from drawing the ensemble's bidiagonal form (Edelman and Sutton 2008) for small
    dimensions, always with the same draws, and from Wachter's limit law (1980) for large ones. Right to
    0.002.

    Raises ValueError for n < 2 or a dimension below 1, where there is nothing to correlate.
    """
    if n < 2 or min(p, q) < 1:
        raise ValueError(f"a correlation needs n >= 2 and dimensions >= 1, got n = {n}, p = {p}, q = {q}")
    m = n - 1
    small, large = sorted((min(p, m), min(q, m)))
    meeting = max(0, small + large - m)
    # Subspaces that meet have the same other angles as their orthogonal complements, which do not meet.
    rest = small - meeting
    if rest == 0:
        return 1.0
    other = m - small if meeting else large
    return (meeting + rest * _mean_cosine(rest, other, m)) / small


def iid_cka(n: int, p: int, q: int) -> float:
    """Return linear CKA of independent isotropic Gaussian noise, as a ratio of expectations.

    E norm_F(Sxy)^2 = m p q and E norm_F(Sxx)^2 = m p (m + p + 1) for m = n - 1 (moments of the Wishart
    distribution). Layers whose variance lies in few directions have the null of fewer neurons. Raises
    ValueError for n < 2.
    """
    if n < 2:
        raise ValueError(f"CKA needs n >= 2 samples, got {n}")
    return sqrt(p * q / ((n + p) * (n + q)))


def iid_regression(n: int, explaining: int) -> float:
    """Return the R^2 with which `explaining` independent noise directions fit anything at n samples,
    intercept apart.
    """
    if n < 2:
        raise ValueError(f"a regression needs n >= 2 samples, got {n}")
    return min(1.0, explaining / (n - 1))


def _mean_cosine(small: int, large: int, m: int) -> float:
    """Mean cosine between random subspaces of dimensions small <= large, small + large <= m."""
    if small > _LARGEST_DRAWN:
        return _wachter_mean(small / m, large / m)
    return _drawn_mean(small, large, m)


def _drawn_mean(small: int, large: int, m: int) -> float:
    """Average the singular values of bidiagonal matrices of the exact joint law (Edelman, Sutton 2008)."""
    generator = np.random.default_rng([small, large, m])
    # The sum of the cosines has a spread near 0.3 at any dimension, so a mean over many of them needs fewer
    # draws.
    draws = max(64, 20_000 // small**2)
    index = np.arange(1, small + 1)
    cosines = generator.beta((large - small + index) / 2, (m - small - large + index) / 2, (draws, small))
    inner = generator.beta(index[:-1] / 2, (m - 2 * small + 1 + index[:-1]) / 2, (draws, small - 1))
    matrices = np.zeros((draws, small, small))
    # Row by row from the last index to the first: c_i s'_i on the diagonal, -s_i c'_(i-1) beside it.
    diagonal = np.sqrt(cosines)
    diagonal[:, :-1] *= np.sqrt(1 - inner)
    beside = np.sqrt((1 - cosines[:, 1:]) * inner)
    place = small - index
    matrices[:, place, place] = diagonal
    matrices[:, place[1:], place[1:] + 1] = -beside
    return float(np.linalg.svd(matrices, compute_uv=False).mean())


def _wachter_mean(small: float, large: float) -> float:
    """Integrate the cosine over Wachter's law of squared cosines; arguments are dimensions divided by n - 1.

    Density sqrt((b - x)(x - a)) / (2 pi small x (1 - x)) on [a, b]; x = centre - half cos(angle) takes off
    the edges.
    """
    first, second = sqrt(small * (1 - large)), sqrt(large * (1 - small))
    low, high = (first - second) ** 2, (first + second) ** 2
    angle = (np.arange(_MIDPOINTS) + 0.5) * pi / _MIDPOINTS
    half = (high - low) / 2
    x = low + half * (1 - np.cos(angle))
    density = (half * np.sin(angle)) ** 2 / (2 * pi * small * x * (1 - x))
    return float((density * np.sqrt(x)).sum() * pi / _MIDPOINTS)
