"""The measures by name, each with its value, what it kept, its i.i.d. baseline and its warnings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from torch import Tensor

from transfusion_core.science.similarity.baseline import iid_baseline, iid_cka, iid_regression
from transfusion_core.science.similarity.cca import CanonicalCorrelations, cca
from transfusion_core.science.similarity.cka import cka_reason, linear_cka
from transfusion_core.science.similarity.guard import TooFewSamples, few_samples_warnings, sampling_warnings
from transfusion_core.science.similarity.moments import Moments
from transfusion_core.science.similarity.pair import Pair
from transfusion_core.science.similarity.procrustes import procrustes
from transfusion_core.science.similarity.pwcca import pwcca
from transfusion_core.science.similarity.regression import linear_regression
from transfusion_core.science.similarity.svcca import svcca
from transfusion_core.science.similarity.threads import each


@dataclass(frozen=True)
class Measured:
    """One measure of one pair of layers; a missing `value` comes with a `reason`, never as NaN.

    `kept_x`, `kept_y`: dimensions compared, None where the measure cuts none. `null_iid`: the value for
    independent Gaussian noise of as many dimensions and samples, None where the measure has no simple one.
    `correlations`: of measures that are means of canonical correlations, those, falling; `reverse`: of regression, R^2
    of the second layer explained by the first.
    """

    value: float | None
    reason: str | None = None
    kept_x: int | None = None
    kept_y: int | None = None
    null_iid: float | None = None
    warnings: list[str] = field(default_factory=list)
    correlations: Tensor | None = None
    reverse: float | None = None


# Takes a pair of layers and the share of variance that SVCCA keeps. Raises `TooFewSamples` where the
# measure does.
Measure: TypeAlias = Callable[[Pair, float], Measured]


def _cca(pair: Pair, variance: float) -> Measured:
    return _correlated(pair, cca(pair))


def _svcca(pair: Pair, variance: float) -> Measured:
    return _correlated(pair, svcca(pair, variance))


def _pwcca(pair: Pair, variance: float) -> Measured:
    return _correlated(pair, pwcca(pair))


def _cka(pair: Pair, variance: float) -> Measured:
    null = iid_cka(pair.n, pair.p, pair.q) if pair.n > 1 else None
    warnings = few_samples_warnings(pair.n, pair.p, pair.q)
    return Measured(linear_cka(pair), cka_reason(pair), null_iid=null, warnings=warnings)


def _cka_debiased(pair: Pair, variance: float) -> Measured:
    warnings = few_samples_warnings(pair.n, pair.p, pair.q)
    return Measured(linear_cka(pair, debiased=True), cka_reason(pair, debiased=True), null_iid=0.0, warnings=warnings)


def _procrustes(pair: Pair, variance: float) -> Measured:
    warnings = few_samples_warnings(pair.n, pair.p, pair.q)
    return Measured(procrustes(pair), pair.constant_reason, warnings=warnings)


def _regression(pair: Pair, variance: float) -> Measured:
    """Take the first layer explained by the second, R^2_LR of Kornblith et al. 2019, and beside it the other way."""
    result = linear_regression(pair)
    null = iid_regression(pair.n, result.kept.y) if pair.n > 1 else None
    warnings = sampling_warnings(pair.n, pair.p, pair.q, kept=result.kept)
    kept = result.kept
    return Measured(result.x_from_y, result.reason, kept.x, kept.y, null, warnings, reverse=result.y_from_x)


def _correlated(pair: Pair, result: CanonicalCorrelations) -> Measured:
    """Judge correlations beside the noise of the dimensions that took part, at full rank those of the layers."""
    kept = result.kept
    if result.mean is None:
        return Measured(None, result.reason, kept.x, kept.y)
    null, warnings = iid_baseline(pair.n, kept.x, kept.y), sampling_warnings(pair.n, pair.p, pair.q, kept=kept)
    return Measured(result.mean, None, kept.x, kept.y, null, warnings, correlations=result.values)


MEASURES: dict[str, Measure] = {
    "cca": _cca,
    "svcca": _svcca,
    "pwcca": _pwcca,
    "cka": _cka,
    "cka_debiased": _cka_debiased,
    "procrustes": _procrustes,
    "regression": _regression,
}

_BY_COHERENCE = frozenset({"cca", "pwcca", "svcca"})
_IN_TURN = (("svcca",), ("cca", "pwcca"), ("procrustes",), ("regression",), ("cka",), ("cka_debiased",))
"""What a thread does at a time, the longest first: CCA and PWCCA read one decomposition."""


def measure(
    moments: Moments | Pair, measures: Sequence[str] = tuple(MEASURES), variance: float = 0.99
) -> dict[str, Measured]:
    """Work out several measures of one pair of layers, each on a thread where that pays, in the order asked for.

    A measure that refuses for want of samples has no value and says why. Raises ValueError for an unknown name.
    """
    require_measures(measures)
    pair = moments.pair
    numbers = 0 if pair.between.xy.is_cuda else 4 * pair.between.xy.numel()  # decompositions go over them many times
    if len(_BY_COHERENCE.intersection(measures)) > 1 and pair.n > max(pair.p, pair.q) and not pair.constant_reason:
        _ = pair.coherence  # which the threads would make twice
    turns = [wanted for turn in _IN_TURN if (wanted := [name for name in turn if name in measures])]
    found = dict(
        one for turn in each(lambda turn: _values(turn, pair, variance), turns, numbers=numbers) for one in turn
    )
    return {name: found[name] for name in measures}


def require_measures(names: Sequence[str]) -> None:
    """Raise ValueError for a name that is no measure's."""
    unknown = [name for name in names if name not in MEASURES]
    if unknown:
        raise ValueError(f"unknown measures {unknown}; known are {', '.join(MEASURES)}")


def _values(names: Sequence[str], pair: Pair, variance: float) -> list[tuple[str, Measured]]:
    return [(name, _value(name, pair, variance)) for name in names]


def _value(name: str, pair: Pair, variance: float) -> Measured:
    try:
        return MEASURES[name](pair, variance)
    except TooFewSamples as error:
        return Measured(None, str(error))
