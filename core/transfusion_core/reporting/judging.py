"""A published claim beside what was measured: agrees, disagrees, or cannot tell."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from transfusion_core.reporting.correction import corrected
from transfusion_core.reporting.statistics import (
    EQUIVALENCE_MARGIN,
    Permutation,
    holm,
    paired_t,
    seeds_needed,
    summarise,
    tost,
)
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


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A claim beside the numbers of one arm, before it is known how many others are tested in the same table."""

    claim: Claim
    row: Row
    """Without an answer, unless there is nothing to judge by."""
    values: Sequence[float] = ()
    test: Permutation | None = None
    against: float | None = None
    """p value of what contradicts the claim, where `row` has that of the claim alone."""


def weighed(
    claim: Claim,
    values: Sequence[float],
    words: Mapping[str, Any],
    *,
    missing: str,
    shown: Callable[[float], float] = float,
    test: Permutation | None = None,
) -> Weighed:
    """A claim beside the mean of `values`, one per seed: that it is above 0, or within the claim's margin of it.

    `missing`: why there are no values. `shown`: what readers see of a value, `exp` for logarithms of ratios. `test`:
    decides instead of the t test, where values are not independent of each other.
    """
    found = summarise(values)
    if found is None:
        text = f"That {claim.said}: {CANNOT_TELL}, as {missing}."
        none = Row(**words, question=claim.question, n=0, answer=CANNOT_TELL, reason=missing, text=text)
        return Weighed(claim=claim, row=none)
    name, p_value, against = _tested(claim, values, test)
    row = Row(
        **words,
        question=claim.question,
        value=shown(found.mean),
        sd=found.sd if shown is float else None,
        n=found.n,
        interval=[shown(end) for end in found.interval] if found.interval else None,
        p_value=p_value,
        test=None if p_value is None else name,
    )
    return Weighed(claim=claim, row=row, values=values, test=test, against=against)


def _tested(claim: Claim, values: Sequence[float], test: Permutation | None) -> tuple[str, float | None, float | None]:
    """The test's name, its p value, and that of what contradicts the claim; a t test speaks for either side."""
    if test:
        return "permutation", test.p_value, None if test.p_value is None else 1 - test.p_value
    if claim.margin:
        return "tost", tost(values, claim.margin), paired_t(values)
    return "paired t", paired_t(values), None


def decided(every: Sequence[Weighed]) -> list[Row]:
    """A table's rows with their answers, each after Holm's correction for the other tests of its name."""
    rows = corrected([each.row for each in every])
    against = holm([each.against for each in every])
    tests = Counter(row.test for row in rows)
    return [
        _decided(each, row, contradicted, tests[row.test])
        for each, row, contradicted in zip(every, rows, against, strict=True)
    ]


def _decided(each: Weighed, row: Row, against: float | None, tests: int) -> Row:
    if row.answer:
        return row
    answer = _answer(each.claim, fmean(each.values), row.p_adjusted, against, by_networks=each.test is not None)
    needed = seeds_needed(each.values, margin=each.claim.margin, level=LEVEL / tests)
    more = max(needed, len(each.values) + 1) if needed and answer == CANNOT_TELL else None
    told = row.model_copy(update={"answer": answer, "seeds_needed": more})
    return told.model_copy(update={"text": _sentence(each.claim, told, each.test)})


def _answer(claim: Claim, mean: float, p_value: float | None, against: float | None, *, by_networks: bool) -> str:
    is_shown = p_value is not None and p_value < LEVEL
    if by_networks or claim.margin is not None:
        contradicted = against is not None and against < LEVEL and (by_networks or abs(mean) >= (claim.margin or 0))
        return AGREES if is_shown else DISAGREES if contradicted else CANNOT_TELL
    if not is_shown or abs(mean) <= ROUNDING:
        return CANNOT_TELL
    return AGREES if mean > 0 else DISAGREES


def _sentence(claim: Claim, row: Row, test: Permutation | None) -> str:
    where = f"{row.model}, {row.train_size} images" if row.train_size not in (None, "all") else row.model
    spread = f" ({row.interval[0]:.3g} to {row.interval[1]:.3g})" if row.interval else ""
    known = f"; published: {row.published:.3g} [{row.mark}]" if row.published is not None else ""
    value = f"{row.value:.3g} {claim.unit}".strip()
    why = f"; {test.reason}" if test and test.reason and row.answer == CANNOT_TELL else ""
    more = f" ({row.seeds_needed} seeds would, at this spread)" if row.seeds_needed else why
    return f"{where}: {value}{spread}, n = {row.n}{known}. That {claim.said}: {row.answer}{more}."
