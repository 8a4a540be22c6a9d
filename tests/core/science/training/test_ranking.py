import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from transfusion_core.science.training.ranking import auprc, auroc, midranks

# Few distinct scores, so that ties are the rule.
samples = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40).filter(
    lambda rows: len({positive for _, positive in rows}) == 2
)


def _split(rows: list[tuple[int, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s for s, _ in rows], dtype=np.float64), np.array([p for _, p in rows])


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=40))
def test_midranks_are_those_of_scipy(values: list[float]) -> None:
    values += values[::3]
    assert midranks(np.array(values)).tolist() == rankdata(values).tolist()


@given(samples)
def test_auroc_is_the_share_of_pairs_in_order_with_ties_as_half(rows: list[tuple[int, bool]]) -> None:
    scores, positive = _split(rows)
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores, positive) == pytest.approx(np.mean(pairs), abs=1e-15)


@given(samples)
def test_auroc_of_negated_scores_or_truth_is_the_complement(rows: list[tuple[int, bool]]) -> None:
    scores, positive = _split(rows)
    assert auroc(-scores, positive) == pytest.approx(1 - auroc(scores, positive), abs=1e-15)
    assert auroc(scores, ~positive) == pytest.approx(1 - auroc(scores, positive), abs=1e-15)


@given(samples)
def test_both_see_only_the_order_of_the_scores(rows: list[tuple[int, bool]]) -> None:
    scores, positive = _split(rows)
    assert auroc(np.exp(scores), positive) == auroc(scores, positive)
    assert auprc(np.exp(scores), positive) == auprc(scores, positive)


@given(samples)
def test_auprc_agrees_with_sklearn_also_under_ties(rows: list[tuple[int, bool]]) -> None:
    scores, positive = _split(rows)
    assert auprc(scores, positive) == pytest.approx(average_precision_score(positive, scores), abs=1e-12)


def test_constant_scores_are_chance() -> None:
    positive = np.array([True, False, False, False])
    assert auroc(np.zeros(4), positive) == 0.5
    assert auprc(np.zeros(4), positive) == 0.25
