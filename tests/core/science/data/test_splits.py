"""Splits: what is drawn, what is kept, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfusion_core.errors import DataError
from transfusion_core.science.data.splits import Shares, assign

SHARES = Shares(val=0.15, test=0.2)


def _assign(given_splits, strata=None, patients=None, seed=0):
    strata = strata if strata is not None else [0] * len(given_splits)
    return assign(given_splits, strata=strata, patients=patients, seed=seed, shares=SHARES)


def test_everything_is_drawn_in_shares_of_the_whole() -> None:
    assert np.bincount(_assign([None] * 1000)).tolist() == [650, 150, 200]


def test_val_is_drawn_out_of_train_and_test_stays() -> None:
    codes = _assign(["train"] * 100 + ["test"] * 20)
    assert np.bincount(codes).tolist() == [85, 15, 20]
    assert (codes[100:] == 2).all()


def test_test_is_drawn_out_of_train_and_val_stays() -> None:
    assert np.bincount(_assign(["train"] * 100 + ["val"] * 10)).tolist() == [80, 10, 20]


def test_given_splits_stay_as_they_are() -> None:
    assert _assign(["test", "train", "val"]).tolist() == [2, 0, 1]


def test_labels_keep_their_shares_in_every_split() -> None:
    strata = [0] * 900 + [1] * 100
    codes = _assign([None] * 1000, strata)
    for code, count in enumerate((65, 15, 20)):
        assert (codes[900:] == code).sum() == pytest.approx(count, abs=1)


def test_many_tiny_strata_still_add_up_to_the_shares() -> None:
    assert np.bincount(_assign([None] * 200, list(range(200)))).tolist() == pytest.approx([130, 30, 40], abs=1)


def test_the_seed_decides() -> None:
    assert (_assign([None] * 50) == _assign([None] * 50)).all()
    assert (_assign([None] * 50) != _assign([None] * 50, seed=1)).any()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=120, max_size=200), st.integers(0, 5))
def test_no_patient_is_ever_in_two_splits(owners: list[int], seed: int) -> None:
    patients = [f"p{owner}" for owner in owners] + [f"q{number}" for number in range(20)]
    codes = _assign([None] * len(patients), [len(name) for name in patients], patients, seed)
    assert len(set(zip(patients, codes.tolist(), strict=True))) == len(set(patients))


def test_a_patient_in_two_given_splits_is_refused() -> None:
    with pytest.raises(DataError, match="1 patients have images in more than one split"):
        _assign(["train", "test", "val"], patients=["a", "a", "b"])
    words = {"strata": [0, 0, 0], "patients": ["a", "a", "b"], "seed": 0, "shares": SHARES}
    assert assign(["train", "test", "val"], **words, shared_patients=True).tolist() == [0, 2, 1]


def test_some_splits_given_and_some_not_is_refused() -> None:
    with pytest.raises(DataError, match="1 of 2 images name no split"):
        _assign(["train", None])


def test_no_train_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"no train split, only \['test', 'val'\]"):
        _assign(["test", "val"])


def test_a_split_that_stays_empty_is_refused() -> None:
    with pytest.raises(DataError, match="too few"):
        _assign([None, None])
