"""How many stages have to come from a source: quality, speed and size against the stages that are reused."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from transfusion_core.reporting.charts.transfusion import quality_by_stages, steps_by_stages
from transfusion_core.reporting.statistics import UNIT, Summary, summarise
from transfusion_core.reporting.steps import steps_to, threshold
from transfusion_core.reporting.study import Arm, Study
from transfusion_core.specs.init import InitSpec
from transfusion_core.specs.model import catalogue
from transfusion_core.specs.report import ReportSection, Row
from transfusion_core.specs.sections import PARTIAL

DRAWN = ("random", "pretrained", *PARTIAL)
"""Random and pretrained are the ends of the ladder."""


@dataclass(frozen=True)
class Rung:
    """An arm, and how many stages of it come from its source."""

    arm: Arm
    kind: str
    stages: int | None
    """None for a model that is not in the catalogue any more."""


def transfusion(study: Study) -> ReportSection:
    """A row per arm x metric: AUROC, its difference to random, steps to threshold, trainable parameters."""
    rungs = [rung for arm in study.arms if (rung := _rung(study, arm)) and rung.kind in DRAWN]
    table = [row for rung in rungs for row in _rows(study, rung)]
    missing = study.missing_cells()
    charts = {"transfusion": quality_by_stages(table), "transfusion-steps": steps_by_stages(table)}
    return ReportSection(complete=not missing, missing=missing, text=_TEXT, charts=charts, table=table)


_TEXT = (
    "What a pretrained prefix of the network gives, by how many stages are taken from the source (stage): none is "
    "random, all is pretrained; 'slim' redesigns the rest with fewer channels, 'gabor' has synthetic filters in its "
    "first layer and takes none. Mean over seeds; rows with a pair are the difference to random over the same seeds. "
    "Where a few stages give all that the whole network gives, the rest can be redesigned or left out."
)


def _rung(study: Study, arm: Arm) -> Rung | None:
    model = catalogue().get(arm.model)
    stages = list(model.stage_names) if model else []
    inits = [each for init in study.spec.inits for each in init.arms(stages)]
    init = next((init for init in inits if (init.label, init.source) == (arm.init, arm.source)), None)
    return Rung(arm, init.kind, _reused(init, stages)) if init else None


def _reused(init: InitSpec, stages: list[str]) -> int | None:
    if init.kind == "pretrained":
        return len(stages) or None
    if init.prefix is None:
        return 0
    return stages.index(init.prefix) + 1 if init.prefix in stages else None


def _rows(study: Study, rung: Rung) -> Iterator[Row]:
    cells, words = study.seeds_of(rung.arm), {**rung.arm.words, "stage": rung.stages}
    if not cells:
        yield Row(**words, metric="auroc", value=None, n=0, reason="no run of this arm has ended well")
        return
    finals = {cell.seed: value for cell in cells if (value := cell.auroc) is not None}
    yield _row(summarise(list(finals.values()), bounds=UNIT), words, metric="auroc", reason="one class only")
    if rung.kind != "random":
        randoms = {cell.seed: cell.auroc for cell in study.seeds_of(rung.arm.random)}
        deltas = [final - other for seed, final in finals.items() if (other := randoms.get(seed)) is not None]
        pair = {"metric": "auroc", "pair": f"{rung.arm.init}-random", "reason": "no seed has a value in both arms"}
        yield _row(summarise(deltas), words, **pair)
    level = threshold(study, rung.arm)
    steps = [steps_to(cell, level) if level is not None else None for cell in cells]
    reached = [float(step) for step in steps if step is not None]
    found = summarise(reached, bounds=(0, math.inf)) if len(reached) == len(steps) else None
    yield _row(found, words, metric="steps_to_threshold", reason="not reached" if level else "no threshold")
    parameters = summarise([float(cell.result.parameters) for cell in cells if cell.result])
    yield _row(parameters, words, metric="parameters", reason=None)


def _row(found: Summary | None, words: dict[str, object], *, reason: str | None, **more: str) -> Row:
    if found is None:
        return Row.model_validate({**words, **more, "value": None, "n": 0, "reason": reason})
    told = {"value": found.mean, "sd": found.sd, "n": found.n, "interval": found.interval}
    return Row.model_validate({**words, **more, **told})
