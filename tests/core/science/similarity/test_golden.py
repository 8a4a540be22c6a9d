"""Values that others published or computed, each with its origin, on data that anybody can draw again.

The data are those of the notebook of Kornblith et al. 2019: two layers of ten neurons and 100 samples, from NumPy's
legacy generator, whose stream never changes. Origins:

- NOTEBOOK: google-research/google-research, representation_similarity/Demo.ipynb at 10bf941, printed there, 5 digits;
- SVCCA_CODE: google/svcca at 1f3fbf1, of Raghu et al. 2017 and Morcos et al. 2018, run with NumPy 2.4.6;
- SCIPY: 1.17.1, `spatial.procrustes`, whose disparity is 1 - s**2 of the nuclear norm s;
- SKLEARN: scikit-learn 1.9.1, `LinearRegression` and `r2_score(multioutput="variance_weighted")`.
"""

import numpy as np
import pytest

from transfusion_core.science.similarity import cca, linear_cka, linear_regression, procrustes, pwcca, svcca

WEIGHTED = 0.7346677196174033, 0.7368405675246633
"""PWCCA of x weighed and of y weighed."""


@pytest.fixture
def drawn():
    draw = np.random.RandomState(1337)
    x = draw.randn(100, 10)
    return x, draw.randn(100, 10) + x


def test_cka_is_that_of_its_authors(drawn, moments_of):
    """Origin: NOTEBOOK."""
    moments = moments_of(*drawn)
    assert round(linear_cka(moments), 5) == 0.55761
    assert round(linear_cka(moments, debiased=True), 5) == 0.51346


def test_canonical_correlations_are_those_of_two_published_codes(drawn, moments_of):
    """Origin: SVCCA_CODE, `get_cca_similarity(x.T, y.T, epsilon=0)`; and NOTEBOOK, whose layers are not centred: with
    each sample's mirror image beside it they are."""
    x, y = drawn
    found = cca(moments_of(x, y))
    assert found.mean == pytest.approx(0.7310139587836586, abs=1e-12)
    assert found.values[:3].tolist() == pytest.approx([0.8851112, 0.86196085, 0.83330185], abs=1e-8)
    mirrored = cca(moments_of(np.concatenate([x, -x]), np.concatenate([y, -y])))
    assert round(float((mirrored.values**2).mean()), 5) == 0.54312


def test_svcca_is_that_of_its_authors(drawn, moments_of):
    """Origin: SVCCA_CODE, of the leading directions of each side, of 90% of its variance, as its tutorial says."""
    found = svcca(moments_of(*drawn), variance=0.9)
    assert (found.kept.x, found.kept.y) == (9, 9)
    assert found.mean == pytest.approx(0.7057648081425136, abs=1e-12)


def test_pwcca_weighs_the_canonical_directions_that_its_authors_code_finds(drawn, moments_of):
    """Origin: SVCCA_CODE, its `cca_dirns1` and `cca_dirns2` weighted as Morcos et al. 2018 print it.

    Its own `compute_pwcca` gives 0.73698 and 0.74076: it weighs directions that it has not whitened.
    """
    x, y = drawn
    assert pwcca(moments_of(x, y)).mean == pytest.approx(WEIGHTED[0], abs=1e-12)
    assert pwcca(moments_of(y, x)).mean == pytest.approx(WEIGHTED[1], abs=1e-12)


def test_procrustes_and_regression_are_those_of_scipy_and_scikit_learn(drawn, moments_of):
    """Origin: SCIPY and SKLEARN."""
    moments = moments_of(*drawn)
    assert procrustes(moments) == pytest.approx(2 - 2 * np.sqrt(1 - 0.45792811760471513), abs=1e-12)
    assert linear_regression(moments).x_from_y == pytest.approx(0.5634752416529543, abs=1e-12)
    assert linear_regression(moments).y_from_x == pytest.approx(0.5677425705377117, abs=1e-12)
