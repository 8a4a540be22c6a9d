"""How much of what transfer gains is features reused, and how much the scale of the weights alone.

Matsoukas et al. 2022, arXiv 2203.01825: WT is the gain of full weight transfer over random weights, ST that of
weights that only share the statistics of the source (Mean-Var); (WT - ST) / WT is the share of feature reuse.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from transfusion_core.reporting.statistics import CONFIDENCE
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.report import Row

MEASURE = "reuse_share"


class Ratio(NamedTuple):
    """A ratio of means; no interval where the means below the line cannot be told from 0, or n is 1."""

    value: float
    interval: list[float] | None


def ratio_of_means(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """mean(above) / mean(below) of paired values with Fieller's 95% interval (Fieller 1954); mean(below) is not 0."""
    x, y = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    n, value = len(x), float(x.mean() / y.mean())
    if n == 1:
        return Ratio(value, None)
    spread = np.cov(x, y) * float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2)) ** 2 / n
    a = float(y.mean() ** 2 - spread[1, 1])
    b = float(x.mean() * y.mean() - spread[0, 1])
    c = float(x.mean() ** 2 - spread[0, 0])
    if a <= 0:
        return Ratio(value, None)
    half = math.sqrt(max(0.0, b * b - a * c))
    return Ratio(value, [(b - half) / a, (b + half) / a])


def reuse_shares(study: Study) -> Iterator[Row]:
    """A row per model, train size and source of `pretrained`, and per kind of Mean-Var beside it."""
    for model, size in dict.fromkeys((arm.model, arm.train_size) for arm in study.arms):
        arms = [arm for arm in study.arms if (arm.model, arm.train_size) == (model, size)]
        for full in [arm for arm in arms if arm.init == "pretrained"] or [_unasked(model, size)]:
            stats = [arm for arm in arms if arm.init.startswith("mean_var") and arm.source == full.source]
            for arm in stats or [_unasked(model, size)]:
                yield _row(study, full, arm)


def _unasked(model: str, size: int | str) -> Arm:
    """What stands for an arm that the study does not have."""
    return Arm(model=model, init="mean_var", source=None, train_size=size)


def _row(study: Study, full: Arm, stats: Arm) -> Row:
    random = Arm(model=full.model, init="random", source=None, train_size=full.train_size)
    known = [_aurocs(study, arm) for arm in (full, stats, random)]
    seeds = [seed for seed in known[0] if all(seed in each for each in known)]
    gains = [known[0][seed] - known[2][seed] for seed in seeds]
    row = Row(
        model=full.model,
        init="pretrained",
        source=full.source,
        train_size=full.train_size,
        pair=f"pretrained-{stats.init}",
        measure=MEASURE,
        n=len(seeds),
    )
    if not seeds:
        return row.model_copy(
            update={"reason": "needs pretrained, mean_var of its source and random at the same seeds"}
        )
    gain = sum(gains) / len(gains)
    if gain <= 0:
        return row.model_copy(update={"reason": f"full transfer gains nothing over random here: {gain:+.4f} AUROC"})
    found = ratio_of_means([known[0][seed] - known[1][seed] for seed in seeds], gains)
    return row.model_copy(update={"value": found.value, "interval": found.interval})


def _aurocs(study: Study, arm: Arm) -> dict[int, float]:
    """Test AUROC of each of an arm's seeds that has one."""
    tests = {cell.seed: cell.result.metrics["test"].auroc for cell in study.seeds_of(arm) if cell.result}
    return {seed: auroc for seed, auroc in tests.items() if auroc is not None}
