"""Figures 2 and 4: how alike the representations of trained networks are, and what training changes, layer by layer."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from transfusion_core.reporting import published
from transfusion_core.reporting.charts.reuse import figure_4
from transfusion_core.reporting.charts.similarity import figure_2, layer_maps
from transfusion_core.reporting.correction import corrected
from transfusion_core.reporting.networks import TOP_LAYERS, network_test
from transfusion_core.reporting.statistics import UNIT, Permutation, paired_t, seeds_needed, summarise
from transfusion_core.reporting.study import Arm, Pair, Study
from transfusion_core.reporting.weights import tensor_rows
from transfusion_core.specs.comparison import PairResult
from transfusion_core.specs.report import ReportSection, Row

NULLS = ("null_iid", "null_permutation", "null_untrained")
"""What a similarity would be without what was learned: of noise, of shuffled images, of networks never trained."""

IN_COMMON = "cosine"
"""Of two networks' weights: about 0 where they were drawn apart, whatever the stages below have in common."""

BOUNDS = {"cka_debiased": (-1.0, 1.0), "procrustes": (0.0, 2.0)}
"""Between which values a measure lies, where that is not 0 and 1."""


class Measured(NamedTuple):
    """One value with its nulls, in the order of `NULLS`."""

    value: float
    nulls: tuple[float | None, ...]


def similarity(study: Study) -> ReportSection:
    """Figure 2: trained networks against each other, top layers averaged, then layer by layer."""
    groups: dict[tuple[Any, ...], list[Pair]] = defaultdict(list)
    for pair in study.done("similarity"):
        groups[pair.model, pair.a["source"], pair.train_size, pair.pair].append(pair)
    table = [row for key, pairs in groups.items() for row in _group_rows(study, key, pairs)]
    table += [row for pair in study.done("layers") for row in _map_rows(pair)]
    missing = [*study.missing_pairs("similarity"), *study.missing_pairs("layers")]
    return ReportSection(
        complete=not missing,
        missing=missing,
        text="Similarity of the representations of two trained networks on the same probe images, mean over all pairs "
        f"of networks (n). Rows without a layer average the top {TOP_LAYERS} stages, as Figure 2 does. Read each value "
        "beside its nulls: null_iid, what independent noise of the same shape gives; null_permutation, the same "
        "networks, images shuffled; null_untrained, networks never trained; and beside random-random, networks that "
        "share nothing but the data. p_value is of a permutation test over networks, that pairs with a random one are "
        "no less alike than random ones are; where so few cannot give a small p, the reason says so. Rows of metric "
        "layers are of one pair of networks: every layer with every other. A stage that is fed alike answers alike: to "
        "share the lowest stages raises the similarity of those above, which share nothing. Rows of measure cosine are "
        "of the weights themselves, tensor by tensor: about 0 where two networks were drawn apart, near 1 where both "
        "still hold what they took from one source. Networks of one seed draw the same head.",
        charts={"figure-2": figure_2(table), **_maps(table)},
        table=corrected(table),
    )


def _group_rows(study: Study, key: tuple[Any, ...], pairs: list[Pair]) -> Iterator[Row]:
    model, source, train_size, pair = key
    words = {"model": model, "init": pairs[0].a["init"], "source": source, "train_size": train_size, "pair": pair}
    for measure in study.spec.similarity.measures:
        tops = [top for each in pairs if (top := _top_layers(each, measure))]
        known = published.top_layers(model, pair) if measure == "cca" else None
        across = tops and pairs[0].a["init"] != pairs[0].b["init"]
        tested = network_test(study, pairs[0].arm, measure) if across else Permutation(None)
        yield _row(
            tops,
            **words,
            measure=measure,
            published=known.value if known else None,
            mark=known.mark if known else None,
            p_value=tested.p_value,
            test=None if tested.p_value is None else "permutation",
            reason=tested.reason if tops else _refusal(pairs, measure),
        )
        yield from layer_rows(pairs, measure, words)
    yield from tensor_rows(pairs, IN_COMMON, words)


def _maps(table: Sequence[Row]) -> dict[str, Any]:
    return {"layers": layer_maps(table)} if any(row.metric == "layers" for row in table) else {}


def _map_rows(pair: Pair) -> Iterator[Row]:
    """Every layer of one network with every layer of another."""
    assert pair.result is not None
    stages = {layer: stage for stage, layer in enumerate(pair.result.layers_a, start=1)}
    for found in pair.result.results:
        yield Row(
            **pair.arm.words,
            metric="layers",
            seed=pair.a["seed"],
            pair=pair.pair,
            layer=found.layer_a,
            layer_b=found.layer_b,
            stage=stages[found.layer_a],
            measure=found.measure,
            value=found.value,
            null_iid=found.null_iid,
            reason=found.reason,
        )


def _top_layers(pair: Pair, measure: str) -> Measured | None:
    """Mean over the top stages of one pair of networks; None unless all of them have a value."""
    top = _of(pair, measure)[-TOP_LAYERS:]
    values = [found.value for found in top if found.value is not None]
    if len(values) < len(top) or not top:
        return None
    nulls = tuple(_mean_of_all([getattr(found, name) for found in top]) for name in NULLS)
    return Measured(sum(values) / len(values), nulls)


def _mean_of_all(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) / len(known) if known and len(known) == len(numbers) else None


def _of(pair: Pair, measure: str) -> list[PairResult]:
    return [found for found in pair.result.results if found.measure == measure] if pair.result else []


def layer_rows(pairs: list[Pair], measure: str, words: dict[str, Any]) -> Iterator[Row]:
    """A row per layer: the mean of a measure over pairs of networks."""
    layers: dict[tuple[str, str], list[PairResult]] = defaultdict(list)
    for pair in pairs:
        for each in _of(pair, measure):
            layers[each.layer_a, each.layer_b].append(each)
    for stage, ((layer, layer_b), found) in enumerate(layers.items(), start=1):
        values = [Measured(f.value, tuple(getattr(f, name) for name in NULLS)) for f in found if f.value is not None]
        yield _row(
            values,
            **words,
            measure=measure,
            layer=layer,
            layer_b=layer_b if layer_b != layer else None,
            stage=stage,
            reason=None if values else next((f.reason for f in found if f.reason), "not measured"),
        )


def _refusal(pairs: list[Pair], measure: str) -> str:
    reasons = [found.reason for pair in pairs for found in _of(pair, measure)[-TOP_LAYERS:] if found.reason]
    return reasons[0] if reasons else "not measured"


def _row(values: list[Measured], **words: Any) -> Row:
    found = summarise([value.value for value in values], bounds=BOUNDS.get(words.get("measure", ""), UNIT))
    nulls = {name: _mean_of_all([value.nulls[place] for value in values]) for place, name in enumerate(NULLS)}
    return Row(
        **words,
        value=found.mean if found else None,
        sd=found.sd if found else None,
        n=len(values),
        interval=found.interval if found else None,
        **nulls,
    )


def reuse(study: Study) -> ReportSection:
    """Figure 4: per-layer similarity of each network to itself before training, and each init minus random."""
    table = list(before_after(study))
    table += [row for arm in study.arms if arm.init != "random" for row in _differences(study, arm)]
    missing = study.missing_pairs("movement")
    return ReportSection(
        complete=not missing,
        missing=missing,
        text="Similarity of each layer after training to the same layer before, mean over seeds: high means that the "
        "layer kept what it started with. Rows with a pair are the difference to random over the same seeds, with its "
        "95% t interval and p_value of the paired t test, corrected by Holm within this table (p_adjusted): features "
        "can have been reused only where an init keeps more than random does, that is where the interval lies above 0; "
        "a large network keeps much from any start. A stage above one that is kept is fed alike and so keeps more too: "
        "which stages hold what they took from a source is told by the cosines in section similarity.",
        charts={"figure-4": figure_4(table)},
        table=corrected(table),
    )


def before_after(study: Study) -> Iterator[Row]:
    """A row per arm x layer x measure: initialisation against final weights, mean over seeds."""
    for arm in study.arms:
        pairs = _moved(study, arm)
        for measure in study.spec.similarity.measures:
            yield from layer_rows(pairs, measure, arm.words)


def _moved(study: Study, arm: Arm) -> list[Pair]:
    return [pair for pair in study.done("movement") if pair.arm == arm]


def _differences(study: Study, arm: Arm) -> Iterator[Row]:
    """The arm minus random at the same seeds, per layer and measure."""
    randoms = {pair.a["seed"]: pair for pair in _moved(study, arm.random)}
    paired = [(pair, randoms[pair.a["seed"]]) for pair in _moved(study, arm) if pair.a["seed"] in randoms]
    for measure in study.spec.similarity.measures:
        deltas: dict[str, list[float]] = defaultdict(list)
        for pair, random in paired:
            kept = {found.layer_a: found.value for found in _of(random, measure)}
            for found in _of(pair, measure):
                if found.value is not None and (other := kept.get(found.layer_a)) is not None:
                    deltas[found.layer_a].append(found.value - other)
        for stage, (layer, values) in enumerate(deltas.items(), start=1):
            words = {"layer": layer, "measure": measure, "stage": stage, "pair": f"{arm.init}-random"}
            yield _difference(values, **arm.words, **words)


def _difference(deltas: list[float], **words: Any) -> Row:
    found, tested = summarise(deltas), len(deltas) > 1
    assert found is not None
    return Row(
        **words,
        value=found.mean,
        sd=found.sd,
        n=len(deltas),
        interval=found.interval,
        p_value=paired_t(deltas),
        test="paired t" if tested else None,
        seeds_needed=seeds_needed(deltas),
        reason=None if tested else "one seed has no spread: neither an interval nor a test",
    )
