"""What the study's questions come to on this dataset: estimate, interval, published value, and a sentence each."""

from collections.abc import Callable, Iterator
from math import exp, log
from statistics import fmean
from typing import Any

from transfusion_core.reporting.advice import advice
from transfusion_core.reporting.judging import (
    CAPACITY,
    LEVEL,
    MOVEMENT,
    QUALITY,
    REUSE,
    SCALING,
    SIMILARITY,
    SMALL_DATA,
    SPEED,
    Weighed,
    decided,
    weighed,
)
from transfusion_core.reporting.networks import likeness, network_test, top_likeness
from transfusion_core.reporting.published import PUBLISHED_SIZE, gain, speed_up, table_1, top_layers
from transfusion_core.reporting.quality import labels_of
from transfusion_core.reporting.statistics import EQUIVALENCE_MARGIN, spread_at_least
from transfusion_core.reporting.steps import rounding, steps_to, threshold
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.report import ReportSection


def verdict(study: Study) -> ReportSection:
    """A row per question, model and train size, then the advice that follows."""
    asked = (_quality, _small_data, _capacity, _similarity, _movement, _reuse, _speed)
    table = decided([row for ask in asked for row in ask(study)])
    missing = study.missing_cells()
    return ReportSection(
        complete=not missing,
        missing=missing,
        text=f"Each published claim beside this dataset's own number. 'agrees' and 'disagrees' are said at the "
        f"{LEVEL:.0%} level after Holm's correction for the tests of one name in this table (p_adjusted), 'cannot "
        "tell' where these seeds do not decide; a claim that two things are comparable is "
        f"an equivalence test (TOST) at a margin of {EQUIVALENCE_MARGIN} AUROC. Spreads are over seeds: other images "
        "of the same kind would add to them. The last rows are advice.",
        charts={},
        table=[*table, *advice(study)],
    )


def _transfers(study: Study) -> list[Arm]:
    return [arm for arm in study.arms if arm.init == "pretrained"]


def _paired(study: Study, arm: Arm, value: Callable[[Arm], dict[int, float]]) -> list[float]:
    """The arm minus random, over the seeds that both have."""
    ours, theirs = value(arm), value(arm.random)
    return [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]


def _finals(study: Study) -> Callable[[Arm], dict[int, float]]:
    return lambda arm: {cell.seed: value for cell in study.seeds_of(arm) if (value := cell.auroc) is not None}


def _quality(study: Study) -> Iterator[Weighed]:
    for arm in _transfers(study):
        deltas = _paired(study, arm, _finals(study))
        labels = [row.label for cell in study.seeds_of(arm) for row in labels_of(cell)]
        known = gain(study.task, arm.model, arm.train_size, labels)
        told = {"published": known.value, "mark": known.mark} if known else {}
        missing = "no seed has a value from both transfer and random"
        yield weighed(QUALITY, deltas, {**arm.words, **told}, missing=missing)


def _small_data(study: Study) -> Iterator[Weighed]:
    sizes = sorted({cell.arm.train_size for cell in study.cells}, key=_images)
    if len(sizes) < 2:
        return
    gains = {(a.model, a.source, a.train_size): _by_seed(study, a) for a in _transfers(study)}
    for arm in [arm for arm in _transfers(study) if arm.train_size == sizes[0]]:
        few, many = (gains.get((arm.model, arm.source, size), {}) for size in (sizes[0], sizes[-1]))
        more = [few[seed] - many[seed] for seed in sorted(set(few) & set(many))]
        known = [gain(study.task, arm.model, size, ()) for size in (PUBLISHED_SIZE, "all")]
        told = {"published": known[0].value - known[1].value, "mark": known[0].mark} if known[0] and known[1] else {}
        missing = "no seed has a gain at both sizes"
        yield weighed(SMALL_DATA, more, {**arm.words, **told}, missing=missing)


def _images(size: int | str) -> float:
    return float("inf") if size == "all" else float(size)


def _by_seed(study: Study, arm: Arm) -> dict[int, float]:
    ours, theirs = _finals(study)(arm), _finals(study)(arm.random)
    return {seed: ours[seed] - theirs[seed] for seed in set(ours) & set(theirs)}


def _extremes(study: Study) -> Iterator[tuple[Arm, Arm]]:
    """The random arms of the smallest and the largest network, for each train size."""
    for size in dict.fromkeys(cell.arm.train_size for cell in study.cells):
        arms = [arm for arm in study.arms if (arm.init, arm.train_size) == ("random", size)]
        sizes = {arm: cell.result.parameters for arm in arms for cell in study.seeds_of(arm) if cell.result}
        ranked = sorted(sizes, key=lambda arm: sizes[arm])
        if len(ranked) > 1:
            yield ranked[0], ranked[-1]


def _capacity(study: Study) -> Iterator[Weighed]:
    for small, large in _extremes(study):
        ours, theirs = _finals(study)(small), _finals(study)(large)
        deltas = [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]
        words: dict[str, Any] = {"model": small.model, "train_size": small.train_size}
        words["pair"] = f"{small.model}-{large.model}"
        known = [table_1(arm.model, "random") for arm in (small, large)]
        if known[0] and known[1] and (study.task, small.train_size) == ("ordinal", "all"):
            words |= {"published": known[0].value - known[1].value, "mark": max(known[0].mark, known[1].mark)}
        yield weighed(CAPACITY, deltas, words, missing="no seed has a value from both")


def _similarity(study: Study) -> Iterator[Weighed]:
    measure = study.spec.similarity.measures[0]
    for arm in _transfers(study) if "similarity" in study.spec.sections else ():
        pairs = ("random-random", "pretrained-random")
        known = [top_layers(arm.model, pair) if measure == "cca" else None for pair in pairs]
        told = {"published": known[0].value - known[1].value, "mark": "d"} if known[0] and known[1] else {}
        words = {**arm.words, "pair": "random-random minus pretrained-random", "measure": measure}
        missing = "it takes two random networks and a pretrained one, compared with each other"
        test, gaps = network_test(study, arm, measure), _gaps(study, arm, measure)
        yield weighed(SIMILARITY, gaps, {**words, **told}, missing=missing, test=test)


def _gaps(study: Study, arm: Arm, measure: str) -> list[float]:
    """For each random network, how much more alike it is to the other random ones than to the arm's."""
    done = [p for p in study.done("similarity") if (p.model, p.train_size) == (arm.model, arm.train_size)]
    values = [(pair, value) for pair in done if (value := top_likeness(pair, measure)) is not None]
    gaps = []
    for seed in sorted({pair.b["seed"] for pair in done if pair.arm == arm and pair.b["init"] == "random"}):
        across = [v for pair, v in values if pair.arm == arm and (pair.b["init"], pair.b["seed"]) == ("random", seed)]
        among = [v for p, v in values if p.pair == "random-random" and seed in (p.a["seed"], p.b["seed"])]
        if across and among:
            gaps.append(fmean(among) - fmean(across))
    return gaps


def _kept(study: Study, arm: Arm, place: int) -> dict[int, float]:
    """By seed, how much one stage (0: the lowest, -1: the highest) keeps of its start."""
    measure = study.spec.similarity.measures[0]
    pairs = [pair for pair in study.done("movement") if pair.arm == arm]
    found = {pair.a["seed"]: values[place] for pair in pairs if (values := likeness(pair, measure))}
    return {seed: value for seed, value in found.items() if value is not None}


def _movement(study: Study) -> Iterator[Weighed]:
    if "movement" not in study.spec.sections and "reuse" not in study.spec.sections:
        return
    for small, large in _extremes(study):
        ours, theirs = _kept(study, large, 0), _kept(study, small, 0)
        more = [ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))]
        words = {"model": large.model, "train_size": large.train_size, "pair": f"{large.model}-{small.model}"}
        measure = study.spec.similarity.measures[0]
        yield weighed(MOVEMENT, more, {**words, "measure": measure}, missing="no seed has both")


def _reuse(study: Study) -> Iterator[Weighed]:
    if "movement" not in study.spec.sections and "reuse" not in study.spec.sections:
        return
    for arm in _transfers(study):
        low, high = (
            {s: ours[s] - theirs[s] for s in set(ours) & set(theirs)}
            for ours, theirs in ((_kept(study, arm, at), _kept(study, arm.random, at)) for at in (0, -1))
        )
        # The smaller of two differences is above 0 only where both are.
        more = [min(low[seed], low[seed] - high[seed]) for seed in sorted(set(low) & set(high))]
        measure = study.spec.similarity.measures[0]
        yield weighed(REUSE, more, {**arm.words, "measure": measure}, missing="no seed has both")


def _speed(study: Study) -> Iterator[Weighed]:
    for arm in study.arms:
        claim = SPEED if arm.init == "pretrained" else SCALING if arm.init.startswith("mean_var") else None
        if claim is None:
            continue
        ratios, missing = _ratios(study, arm)
        known = speed_up(arm.model, arm.init) if study.task == "ordinal" else None
        told = {"published": known.value, "mark": known.mark} if known else {}
        words = {**arm.words, "metric": "speed_up", **told}
        level = threshold(study, arm)
        least = rounding(study.paired_with_random(arm), level) if level is not None else 0.0
        values = spread_at_least([log(ratio) for ratio in ratios], least)
        yield weighed(claim, values, words, missing=missing, shown=exp)


def _ratios(study: Study, arm: Arm) -> tuple[list[float], str]:
    """Random's steps to threshold over the arm's, seed by seed, and why there are none."""
    level = threshold(study, arm)
    if level is None:
        return [], "random ends no better than chance"
    ours, theirs = ({c.seed: steps_to(c, level) for c in study.seeds_of(each)} for each in (arm, arm.random))
    both = sorted(set(ours) & set(theirs))
    if any(steps[seed] is None for steps in (ours, theirs) for seed in both):
        return [], "a run has not reached the threshold"
    if any(steps[seed] == 0 for steps in (ours, theirs) for seed in both):
        return [], "a run was at the threshold before its first step"
    return [(theirs[seed] or 0) / (ours[seed] or 1) for seed in both], "no seed has both"
