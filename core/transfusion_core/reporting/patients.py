"""Intervals over the test images of networks that are there, beside those over seeds: what other patients would say."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from transfusion_core.reporting.predictions import Predictions
from transfusion_core.reporting.quality import labels_of, values_of
from transfusion_core.reporting.statistics import (
    Counts,
    Delong,
    Resampled,
    delong,
    drawn_aucs,
    draws_of,
    percentiles,
)
from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.report import Row

MACRO = "macro"
OF_RUN, RESAMPLED = "auroc_of_run", "auroc_resampled"
"""Metrics of the rows with DeLong's interval, one per run; and with the bootstrap's, one per arm."""
NOT_KEPT = "the scores of single images were not kept by these runs"
NOT_FINITE = "scores not finite"


def run_rows(study: Study, arm: Arm) -> Iterator[Row]:
    """A row per seed and label of an arm: its AUROC, with an interval over images where it kept its scores."""
    for cell in study.seeds_of(arm):
        for row in labels_of(cell):
            found = _delong(cell.predictions, row.label)
            yield Row(
                **arm.words,
                seed=cell.seed,
                label=row.label,
                metric=OF_RUN,
                value=row.auroc,
                interval=found.interval,
                reason=row.reason if row.auroc is None else found.reason,
            )


def _delong(predictions: Predictions | None, label: str) -> Delong:
    if predictions is None:
        return Delong(None, reason=NOT_KEPT)
    if predictions.broken:
        return Delong(None, reason=NOT_FINITE)
    if label not in predictions.labels:
        return Delong(None, reason="a mean over labels: see auroc_resampled")
    known, column = predictions.known(label), predictions.labels.index(label)
    return delong(predictions.scores[known, column], predictions.truth[known, column] == 1)


def resampled_rows(study: Study) -> Iterator[Row]:
    """A row per arm and label: mean AUROC over seeds, with an interval over patients.

    The same draws for all networks, labels and arms: what differs between intervals is then not the draws.
    """
    first = next((cell.predictions for cell in study.cells if cell.predictions), None)
    counts = draws_of(len(first.truth), first.patients) if first else None
    for arm in study.arms:
        cells = study.seeds_of(arm)
        kept = [cell for cell in cells if cell.predictions and not cell.predictions.broken]
        drawn = _drawn([cell.predictions for cell in kept if cell.predictions], counts) if counts is not None else {}
        for label in dict.fromkeys(row.label for cell in cells for row in labels_of(cell)):
            yield _resampled_row(arm, label, kept, drawn.get(label), _why_none(cells))


def _why_none(cells: Sequence[Cell]) -> str:
    return NOT_FINITE if any(cell.predictions for cell in cells) else NOT_KEPT


def _resampled_row(arm: Arm, label: str, cells: list[Cell], drawn: NDArray[np.float64] | None, why: str) -> Row:
    values, reasons = values_of(cells, label, "auroc")
    sets = [cell.predictions for cell in cells if cell.predictions]
    known_patients = bool(sets) and sets[0].patients is not None
    found = percentiles(drawn) if drawn is not None else Resampled(None, (reasons or [why])[0])
    return Row(
        **arm.words,
        label=label,
        metric=RESAMPLED,
        measure=("patients" if known_patients else "images") if sets else None,
        value=float(np.mean(values)) if values else None,
        n=len(values),
        interval=found.interval,
        reason=found.reason,
    )


def _drawn(sets: Sequence[Predictions], counts: Counts) -> dict[str, NDArray[np.float64]]:
    """The mean AUROC over networks in every draw, of each label that can have one, and of their macro average."""
    drawn = {}
    for label in sets[0].labels if sets else []:
        known, column = sets[0].known(label), sets[0].labels.index(label)
        positive = sets[0].truth[known, column] == 1
        if positive.any() and not positive.all():
            each = [drawn_aucs(one.scores[known, column], positive, counts[known]) for one in sets]
            drawn[label] = np.mean(each, axis=0)
    return drawn | ({MACRO: np.mean(list(drawn.values()), axis=0)} if drawn else {})
