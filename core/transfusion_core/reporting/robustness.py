"""What trained networks rest on: stages put back, layers probed, images cut up, lines between networks, reuse."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from transfusion_core.reporting.charts.robustness import auroc_by_blocks, drop_by_stage, probes_by_stage
from transfusion_core.reporting.means import mean_row
from transfusion_core.reporting.probed import Line, Probed, lines, missing_lines, missing_probes, probed
from transfusion_core.reporting.reuse_share import reuse_shares
from transfusion_core.reporting.statistics import UNIT
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.report import ReportSection, Row
from transfusion_core.specs.robustness import NEIGHBOURS, PROBE_C, TRAIN_IMAGES, Barrier, Score

AUROC, DROP = "auroc", "auroc_drop"
METRICS = {
    "reinit": (DROP,),
    "rerand": (DROP,),
    "knn": (AUROC,),
    "linear_probe": (AUROC,),
    "block_shuffle": (AUROC, DROP),
}
"""What is told of each thing that was tried: the AUROC left, or how much of the trained network's is lost."""
BOUNDS = {AUROC: UNIT, DROP: (-1.0, 1.0)}


def robustness(study: Study) -> ReportSection:
    """Rows per arm, measure and stage or number of blocks; then barriers per pair of arms; then reuse shares."""
    found = probed(study)
    arms = dict.fromkeys(each.cell.arm for each in found)
    table = [row for arm in arms for row in arm_rows(arm, [each for each in found if each.cell.arm == arm])]
    table += list(_barrier_rows(lines(study)))
    table += list(reuse_shares(study))
    lost = [*missing_probes(found), *missing_lines(study)]
    return ReportSection(
        complete=not lost,
        missing=lost,
        text=TEXT,
        charts={
            "robustness-drop": drop_by_stage(table),
            "robustness-probes": probes_by_stage(table),
            "robustness-blocks": auroc_by_blocks(table),
        },
        table=table,
    )


TEXT = (
    "Test AUROC of the final weights under interventions, mean over seeds. auroc_drop is the trained network's AUROC "
    "minus what is left: with one stage put back to its initial values (reinit) or to fresh random ones (rerand), "
    "batch norm's running statistics with it; with test images cut into blocks x blocks pieces in random order "
    "(block_shuffle), which leaves texture and destroys shape. knn and linear_probe are AUROCs of a vote of "
    f"{NEIGHBOURS} neighbours and of a logistic regression (C = {PROBE_C} on standardised features) on each stage's "
    f"features, taught by {TRAIN_IMAGES} train images at most, the same for every run. loss_barrier and auroc_barrier "
    "are the most by which the straight line between two networks' weights is worse than between its ends, batch norm "
    "estimated anew at every point: near 0 where both lie in one basin. reuse_share is (WT - ST) / WT: the share of "
    "transfer's gain that Mean-Var, which has the scale of the weights alone, does not give; it has no interval where "
    "the gain cannot be told from 0."
)


def arm_rows(arm: Arm, group: Sequence[Probed]) -> Iterator[Row]:
    """The rows of one arm's seeds."""
    places = dict.fromkeys(_place(score) for each in group if each.result for score in each.result.scores)
    for trial, layer, stage, blocks in places:
        found = [
            (each.result.auroc, score)
            for each in group
            if each.result
            for score in each.result.scores
            if _place(score) == (trial, layer, stage, blocks)
        ]
        for metric in METRICS[trial]:
            values = [value for trained, score in found if (value := _value(metric, trained, score)) is not None]
            reasons = [score.reason for _, score in found if score.reason]
            words = {"measure": trial, "metric": metric, "layer": layer, "stage": stage, "blocks": blocks}
            reason = reasons[0] if reasons else "the trained network has no AUROC"
            yield mean_row(values, reason, bounds=BOUNDS[metric], **arm.words, **words)
    if not places:
        yield Row(**arm.words, measure="reinit", metric=DROP, n=0, reason="no probe of this arm has ended well")


def _place(score: Score) -> tuple[str, str | None, int | None, int | None]:
    return score.trial, score.layer, score.stage, score.blocks


def _value(metric: str, trained: float | None, score: Score) -> float | None:
    if metric == AUROC or score.auroc is None:
        return score.auroc
    return None if trained is None else trained - score.auroc


def _barrier_rows(every: Sequence[Line]) -> Iterator[Row]:
    for arm, pair in dict.fromkeys((line.arm, line.pair) for line in every):
        results = [line.result for line in every if (line.arm, line.pair) == (arm, pair) and line.result]
        words = {**arm.words, "pair": pair}
        yield _barrier_row([result.loss for result in results], (0.0, math.inf), measure="loss_barrier", **words)
        yield _barrier_row([result.auroc for result in results], UNIT, measure="auroc_barrier", **words)


def _barrier_row(barriers: list[Barrier], bounds: tuple[float, float], **words: Any) -> Row:
    reasons = [barrier.reason for barrier in barriers if barrier.reason]
    values = [barrier.value for barrier in barriers if barrier.value is not None]
    return mean_row(values, reasons[0] if reasons else "no line of this pair has ended well", bounds=bounds, **words)
