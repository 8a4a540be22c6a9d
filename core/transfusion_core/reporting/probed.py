"""What the jobs `probe` and `barrier` found, as the section `robustness` reads it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfusion_core.reporting.study import Arm, Cell, Study
from transfusion_core.specs.robustness import BarrierResult, ProbeResult


@dataclass(frozen=True, kw_only=True)
class Probed:
    """One probed run; no result where the probe failed, was cancelled or has not ended."""

    cell: Cell
    """The run in words, with the state of its probe."""
    result: ProbeResult | None


@dataclass(frozen=True, kw_only=True)
class Line:
    """The line between two runs of one model and train size."""

    arm: Arm
    """Of its first end."""
    pair: str
    name: str
    result: BarrierResult | None


def probed(study: Study) -> list[Probed]:
    """Every run's probe, in the order of the spec."""
    return [_probed(job) for job in study.jobs if job["kind"] == "probe"]


def lines(study: Study) -> list[Line]:
    """Every line, in the order of the spec."""
    return [_line(job) for job in study.jobs if job["kind"] == "barrier"]


def _probed(job: dict[str, Any]) -> Probed:
    words = job["labels"]
    arm = Arm(**{word: words[word] for word in ("model", "init", "source", "train_size")})
    cell = Cell(arm=arm, seed=words["seed"], state=job["state"], reason=job["reason"], result=None)
    return Probed(cell=cell, result=ProbeResult.model_validate(job["result"]) if job["result"] else None)


def _line(job: dict[str, Any]) -> Line:
    words = job["labels"]
    ends = [f"{words[end]['init']} seed {words[end]['seed']}" for end in ("a", "b")]
    why = f"{job['state']}: {job['reason']}" if job["reason"] else job["state"]
    return Line(
        arm=Arm(
            model=words["model"],
            init=words["a"]["init"],
            source=words["a"]["source"],
            train_size=words["train_size"],
        ),
        pair=words["pair"],
        name=f"line, {words['model']}, {words['train_size']} images: {ends[0]} to {ends[1]} ({why})",
        result=BarrierResult.model_validate(job["result"]) if job["result"] else None,
    )


def missing_probes(found: Sequence[Probed]) -> list[str]:
    """Those without a result."""
    return [f"probe of {each.cell.name}" for each in found if not each.result]


def missing_lines(study: Study) -> list[str]:
    """Lines without a result."""
    return [each.name for each in lines(study) if not each.result]
