"""From the sums of a pass to numbers: every measure of every pair of layers, beside its nulls and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from transfusion_core.science.similarity.collect import Collected
from transfusion_core.science.similarity.directions import Side
from transfusion_core.science.similarity.gathering import REORDERED, Gathering
from transfusion_core.science.similarity.intervals import BOUNDS, ShardSums, Spread, interval
from transfusion_core.science.similarity.measures import Measured, measure, require_measures
from transfusion_core.science.similarity.moments import side_of
from transfusion_core.science.similarity.options import LayerPair
from transfusion_core.science.similarity.pair import Pair
from transfusion_core.science.similarity.plan import Place
from transfusion_core.science.similarity.sums import Product, Sums
from transfusion_core.science.similarity.threads import MANY, each


@dataclass(frozen=True)
class PairResult:
    """One measure of one pair of layers.

    `value` is None, with a `reason`, where the measure does not exist or refuses. `n` counts samples: images
    times positions per image. The positions of one image are not independent, so the `interval` (95%) is over
    images, never over n. `p`, `q`: neurons of the layers; `kept_a`, `kept_b`: directions that took part,
    None where the measure cuts none. `null_iid`: the value of independent Gaussian noise at these sizes;
    `null_permutation`: the value with the images of the second layer in another order. `reverse`: of regression, how
    much of the second layer the first explains; `correlations` (m,): of CCA, SVCCA and PWCCA, falling. Of several draws
    of channels every number is the mean, the kept directions are the fewest.
    """

    layer_a: str
    layer_b: str
    measure: str
    value: float | None
    reason: str | None
    n: int
    p: int
    q: int
    kept_a: int | None
    kept_b: int | None
    null_iid: float | None
    null_permutation: float | None
    interval: tuple[float, float] | None
    warnings: list[str]
    reverse: float | None = None
    correlations: Tensor | None = field(default=None, compare=False, repr=False)


def evaluate(
    collected: Collected, measures: Sequence[str], *, variance: float = 0.99
) -> dict[LayerPair, list[PairResult]]:
    """Evaluate every measure named on every pair of layers of a pass.

    Raises ValueError for an unknown measure, and for a pass of which a part is missing.
    """
    require_measures(measures)
    if missing := sorted(set(range(collected.shards)) - collected.done):
        raise ValueError(f"all parts of one pass expected, got none with shards {missing} of {collected.shards}")
    pairs_of: dict[int, list[tuple[LayerPair, Place]]] = {}
    for pair, places in collected.places.items():
        for place in places:
            pairs_of.setdefault(place.gathering, []).append((pair, place))
    # The widest first, so that no thread is left with them in the end.
    numbers = sorted(pairs_of, key=lambda number: -max(collected.gatherings[number].widths.values()))

    def drawn(number: int) -> list[_Draw]:
        evaluator = _Evaluator(collected.gatherings[number], variance)
        return each(lambda member: evaluator.draw(member[1], measures), pairs_of[number], numbers=MANY)

    draws: dict[LayerPair, list[_Draw]] = {pair: [] for pair in collected.places}
    for number, found in zip(numbers, each(drawn, numbers, numbers=MANY), strict=True):
        for (pair, _), draw in zip(pairs_of[number], found, strict=True):
            draws[pair].append(draw)
    notes = collected.warnings
    return {pair: [_result(pair, name, found, notes) for name in measures] for pair, found in draws.items()}


@dataclass(frozen=True, eq=False)
class _One:
    """One measure of one draw."""

    measured: Measured
    permuted: float | None
    influences: Tensor | None
    jumps: tuple[float, ...] = ()
    """How far the value lies from what it would be at other cuts that sampling makes as likely."""


@dataclass(frozen=True, eq=False)
class _Draw:
    """One draw of a pair of layers, measure by measure."""

    n: int
    p: int
    q: int
    measures: dict[str, _One]


class _Evaluator:
    """Reads one gathering; what is worked out of a layer is shared by all its pairs."""

    def __init__(self, gathering: Gathering, variance: float) -> None:
        self._gathering, self._variance = gathering, variance
        self._sums = gathering.total.centred()
        self._sides: dict[str, Side] = {}

    def draw(self, place: Place, measures: Sequence[str]) -> _Draw:
        """Evaluate one draw of a pair of layers."""
        a, b, widths = place.a, place.b, self._gathering.widths
        broken = self._broken(a, b)
        found = {}
        if broken:
            found = {name: _One(Measured(None, broken), None, None) for name in measures}
        else:
            found = self._measure(place, measures)
        return _Draw(self._sums.n, widths[a], widths[b], found)

    def _measure(self, place: Place, measures: Sequence[str]) -> dict[str, _One]:
        pair, permuted = self._pair(place.a, place.b), self._permuted(place.a, place.b)
        found = measure(pair, measures, self._variance)
        known = {name: measured.value for name, measured in found.items() if measured.value is not None}
        nulls = measure(permuted, list(known), self._variance) if permuted else {}
        spread = self._spread(place, pair, list(known))
        return {
            name: _One(
                measured,
                nulls[name].value if name in nulls else None,
                spread.influences(name) if spread and name in known else None,
                tuple(other - known[name] for other in spread.other_values(name)) if spread and name in known else (),
            )
            for name, measured in found.items()
        }

    def _spread(self, place: Place, pair: Pair, measures: Sequence[str]) -> Spread | None:
        """Go once over the shards for all measures; None where there are none."""
        shards = self._gathering.shards
        if len(shards) < 2 or not measures:
            return None
        spread = Spread(pair, measures, variance=self._variance)
        for number in sorted(shards):
            spread.add(self._share(shards[number], place))
        return spread

    def _share(self, shard: Sums, place: Place) -> ShardSums:
        """Take a pair's sums of one shard to the means of all shards."""
        a, b = place.a, place.b
        couple = (a, b) if (a, b) in shard.products else (b, a)
        part = shard.only([(a, a), (b, b), couple]).to(self._sums.device, torch.float64).about(self._sums.origin)
        return ShardSums(part.n, part.products[a, a], _oriented(part, a, b), part.products[b, b])

    def _broken(self, a: str, b: str) -> str | None:
        """Say which layer's activations were not finite, None when both were."""
        faults = self._gathering.broken
        named = [f"the {which} layer {faults[name]}" for which, name in (("first", a), ("second", b)) if name in faults]
        return ", ".join(named) or None

    def _pair(self, a: str, b: str) -> Pair:
        return Pair(self._side(a), self._side(b), _oriented(self._sums, a, b))

    def _permuted(self, a: str, b: str) -> Pair | None:
        products = self._sums.products
        if (a, b + REORDERED) in products:
            return Pair(self._side(a), self._side(b), products[a, b + REORDERED])
        if (b, a + REORDERED) in products:
            return Pair(self._side(a), self._side(b), products[b, a + REORDERED].swapped())
        return None

    def _side(self, name: str) -> Side:
        if name not in self._sides:
            self._sides[name] = side_of(self._sums, name)
        return self._sides[name]


def _oriented(sums: Sums, a: str, b: str) -> Product:
    """Return the sums of two layers, whichever way round they were taken."""
    return sums.products[a, b] if (a, b) in sums.products else sums.products[b, a].swapped()


def _result(pair: LayerPair, name: str, draws: Sequence[_Draw], notes: Sequence[str]) -> PairResult:
    """Average one measure over its draws; where one has no value, there is none."""
    found = [draw.measures[name] for draw in draws]
    failed = next((one.measured for one in found if one.measured.value is None), None)
    first = failed or found[0].measured
    value = None if failed else _mean([one.measured.value for one in found])
    return PairResult(
        layer_a=pair.layer_a,
        layer_b=pair.layer_b,
        measure=name,
        value=value,
        reason=first.reason,
        n=draws[0].n,
        p=draws[0].p,
        q=draws[0].q,
        kept_a=min((one.measured.kept_x for one in found if one.measured.kept_x is not None), default=None),
        kept_b=min((one.measured.kept_y for one in found if one.measured.kept_y is not None), default=None),
        null_iid=_mean([one.measured.null_iid for one in found]),
        null_permutation=_mean([one.permuted for one in found]),
        interval=_interval(name, value, found),
        warnings=[*first.warnings, *notes] if value is not None else list(first.warnings),
        reverse=_mean([one.measured.reverse for one in found]),
        correlations=None if failed else _mean_of_all([one.measured.correlations for one in found]),
    )


def _interval(name: str, value: float | None, draws: Sequence[_One]) -> tuple[float, float] | None:
    known = [one.influences for one in draws if one.influences is not None]
    if value is None or len(known) < len(draws):
        return None
    down, up = (fmean(furthest((0.0, *one.jumps)) for one in draws) for furthest in (min, max))
    moved = torch.stack(known).mean(0)
    if not bool(moved.isfinite().all()):
        return None
    return interval(value, moved, bounds=BOUNDS.get(name, (0.0, 1.0)), jumps=(down, up))


def _mean_of_all(drawn: Sequence[Tensor | None]) -> Tensor | None:
    """Mean of what each draw has, as many as the shortest; None where one has none."""
    known = [values for values in drawn if values is not None]
    shortest = min((len(values) for values in known), default=0)
    return torch.stack([values[:shortest] for values in known]).mean(0) if len(known) == len(drawn) else None


def _mean(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return fmean(known) if len(known) == len(numbers) else None
