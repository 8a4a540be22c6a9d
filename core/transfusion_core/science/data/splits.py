"""Splits that the data do not bring: drawn once from a seed, by patient where patients are known, else by label.

Shares are of the images that are drawn from: of all of them where nothing is given (65 % train, 15 % val and 20
% test by default), of the given train split where only `val` or only `test` is missing.
"""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfusion_core.errors import DataError
from transfusion_core.science.data.samples import SPLITS
from transfusion_core.specs.dataset import Split

TRAIN, VAL, TEST = 0, 1, 2
_OPEN = 3


@dataclass(frozen=True)
class Shares:
    """How much of what is drawn from becomes `val` and `test`."""

    val: float
    test: float


def assign(
    given: Sequence[Split | None],
    *,
    strata: Sequence[Hashable],
    patients: Sequence[str] | None,
    seed: int,
    shares: Shares,
    shared_patients: bool = False,
) -> NDArray[np.uint8]:
    """The split code (0 train, 1 val, 2 test) of every image, (n,).

    `strata` are the labels, whose shares are kept alike in all splits as well as whole numbers (and whole
    patients) allow. Raises DataError: no train split, some splits given and some not, a patient in two splits
    unless `shared_patients`, a split that stays empty.
    """
    codes = _given(given)
    if patients is not None and not shared_patients:
        _check_patients(codes, patients)
    there = set(codes.tolist())
    units = np.array(patients) if patients is not None else np.arange(len(codes)).astype(str)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([zlib.crc32(b"splits"), seed])))
    whole = not there & {VAL, TEST}
    if TEST not in there:
        pool = np.flatnonzero(codes == TRAIN)
        codes[pool[_drawn(units[pool], [strata[row] for row in pool.tolist()], shares.test, generator)]] = TEST
    if VAL not in there:
        pool = np.flatnonzero(codes == TRAIN)
        share = shares.val / (1 - shares.test) if whole else shares.val
        codes[pool[_drawn(units[pool], [strata[row] for row in pool.tolist()], share, generator)]] = VAL
    empty = [split for code, split in enumerate(SPLITS) if code not in codes]
    if empty:
        raise DataError(f"{len(codes)} images are too few: split {empty} stays empty")
    return codes


def extend(
    given: Sequence[Split | None],
    *,
    strata: Sequence[Hashable],
    patients: Sequence[str] | None,
    seed: int,
    shares: Shares,
    shared_patients: bool = False,
) -> NDArray[np.uint8]:
    """The split codes of a version that extends another: given ones stay, a known patient's images join the others.

    What is left is drawn by itself, with the same shares. Raises DataError for a patient in two splits, unless
    `shared_patients`; then new images of such a patient are for training, if any of his are.
    """
    codes = np.array([SPLITS.index(split) if split else _OPEN for split in given], np.uint8)
    if patients is not None:
        known: dict[str, int] = {}
        for patient, code in zip(patients, codes.tolist(), strict=True):
            known[patient] = min(code, known.get(patient, _OPEN))
        codes = np.array(
            [known[who] if code == _OPEN else code for who, code in zip(patients, codes.tolist(), strict=True)],
            np.uint8,
        )
    units = np.array(patients) if patients is not None else np.arange(len(codes)).astype(str)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([zlib.crc32(b"splits"), seed])))
    for code, share in ((TEST, shares.test), (VAL, shares.val / (1 - shares.test))):
        pool = np.flatnonzero(codes == _OPEN)
        codes[pool[_drawn(units[pool], [strata[row] for row in pool.tolist()], share, generator)]] = code
    codes[codes == _OPEN] = TRAIN
    if patients is not None and not shared_patients:
        _check_patients(codes, patients)
    return codes


def _given(given: Sequence[Split | None]) -> NDArray[np.uint8]:
    missing = sum(split is None for split in given)
    if missing not in (0, len(given)):
        raise DataError(f"{missing} of {len(given)} images name no split, the others do")
    if not missing and "train" not in given:
        raise DataError(f"there is no train split, only {sorted({split for split in given if split})}")
    return np.array([SPLITS.index(split) if split else TRAIN for split in given], np.uint8)


def _check_patients(codes: NDArray[np.uint8], patients: Sequence[str]) -> None:
    pairs = set(zip(patients, codes.tolist(), strict=True))
    twice = len(pairs) - len(set(patients))
    if twice:
        raise DataError(
            f"{twice} patients have images in more than one split: the test would not be of new patients "
            "(allow_shared_patients takes them)"
        )


def _drawn(
    units: NDArray[np.str_], strata: Sequence[Hashable], share: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Positions of a share of the units (patients or single images), drawn stratum by stratum."""
    names, first, place = np.unique(units, return_index=True, return_inverse=True)
    stratum = np.array([repr(strata[row]) for row in first.tolist()])
    chosen = np.zeros(len(names), bool)
    before = 0
    for name in np.unique(stratum):
        members = np.flatnonzero(stratum == name)
        quota = round(share * (before + len(members))) - round(share * before)  # carries the rounding on
        chosen[generator.permutation(members)[:quota]] = True
        before += len(members)
    return np.flatnonzero(chosen[place])
