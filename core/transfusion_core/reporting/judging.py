"""A published claim beside what was measured: agrees, disagrees, or cannot tell."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN, Permutation, seeds_needed, summarise, tost
from transfusion_core.specs.report import Row

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot tell"
LEVEL = 0.05
ROUNDING = 1e-9
"""Differences of equal numbers are not always nought."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A published claim about a number of this study, and how the number is spoken of."""

    question: str
    said: str
    """The claim, as part of a sentence: 'transfer changes final quality by less than 0.01'."""
    unit: str = ""
    margin: float | None = None
    """The claim is that the number is above 0; with a margin, that it is nearer to 0 than that."""


QUALITY = Claim(
    question="Does transfer change final quality?",
    said=f"transfer and random end within {EQUIVALENCE_MARGIN} AUROC of each other",
    unit="AUROC",
    margin=EQUIVALENCE_MARGIN,
)
SMALL_DATA = Claim(
    question="Does transfer help more where images are few?",
    said="transfer gains more on the smallest train size than on the largest",
    unit="AUROC",
)
CAPACITY = Claim(
    question="Do small networks do as well as large ones?",
    said=f"the smallest and the largest network end within {EQUIVALENCE_MARGIN} AUROC of each other",
    unit="AUROC",
    margin=EQUIVALENCE_MARGIN,
)
SIMILARITY = Claim(
    question="Do pretrained weights lead to other representations?",
    said="networks from random weights are more like each other than like pretrained ones",
)
MOVEMENT = Claim(
    question="Do larger networks move less?",
    said="the lowest stage of the largest network keeps more of its start than that of the smallest",
)
REUSE = Claim(
    question="Are features reused, and where?",
    said="pretrained weights keep more than random ones in the lowest stage, and more there than in the highest",
)
SPEED = Claim(question="Does transfer speed up training?", said="transfer takes fewer steps than random")
SCALING = Claim(
    question="Is weight scaling enough for a speed-up?",
    said="weights that share only mean and variance with pretrained ones take fewer steps than random",
)


def judged(
    claim: Claim,
    values: Sequence[float],
    words: Mapping[str, Any],
    *,
    missing: str,
    shown: Callable[[float], float] = float,
    test: Permutation | None = None,
) -> Row:
    """A claim beside the mean of `values`, one per seed: that it is above 0, or within the claim's margin of it.

    `missing`: why there are no values. `shown`: what readers see of a value, `exp` for logarithms of ratios. `test`:
    decides instead of the interval, where values are not independent of each other.
    """
    found = summarise(values)
    if found is None:
        text = f"That {claim.said}: {CANNOT_TELL}, as {missing}."
        return Row(**words, question=claim.question, n=0, answer=CANNOT_TELL, reason=missing, text=text)
    equivalence = tost(values, claim.margin) if claim.margin else None
    p_value = test.p_value if test else equivalence
    answer = _by_test(test) if test else _answer(claim, found.mean, found.interval, equivalence)
    needed = seeds_needed(values, margin=claim.margin) if answer == CANNOT_TELL else None
    ends = [shown(end) for end in found.interval] if found.interval else None
    row = Row(
        **words,
        question=claim.question,
        value=shown(found.mean),
        sd=found.sd if shown is float else None,
        n=found.n,
        interval=ends,
        p_value=p_value,
        test=None if p_value is None else "permutation" if test else "tost",
        seeds_needed=needed,
        answer=answer,
    )
    return row.model_copy(update={"text": _sentence(claim, row, test)})


def _by_test(test: Permutation) -> str:
    if test.p_value is None or test.difference is None:
        return CANNOT_TELL
    if test.p_value < LEVEL:
        return AGREES
    return DISAGREES if test.p_value > 1 - LEVEL else CANNOT_TELL


def _answer(claim: Claim, mean: float, interval: list[float] | None, equivalence: float | None) -> str:
    if interval is None:
        return CANNOT_TELL
    low, high = interval[0] - ROUNDING, interval[1] + ROUNDING
    if claim.margin is None:
        return AGREES if low > 0 else DISAGREES if high < 0 else CANNOT_TELL
    if equivalence is not None and equivalence < LEVEL:
        return AGREES
    return DISAGREES if (low > 0 or high < 0) and abs(mean) >= claim.margin else CANNOT_TELL


def _sentence(claim: Claim, row: Row, test: Permutation | None) -> str:
    where = f"{row.model}, {row.train_size} images" if row.train_size not in (None, "all") else row.model
    spread = f" ({row.interval[0]:.3g} to {row.interval[1]:.3g})" if row.interval else ""
    known = f"; published: {row.published:.3g} [{row.mark}]" if row.published is not None else ""
    value = f"{row.value:.3g} {claim.unit}".strip()
    why = f"; {test.reason}" if test and test.reason and row.answer == CANNOT_TELL else ""
    more = f" ({row.seeds_needed} seeds would, at this spread)" if row.seeds_needed else why
    return f"{where}: {value}{spread}, n = {row.n}{known}. That {claim.said}: {row.answer}{more}."
