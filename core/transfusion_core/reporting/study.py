"""An experiment's results as the sections read them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from transfusion_core.specs.comparison import ComparisonResult
from transfusion_core.specs.experiment import ExperimentSpec
from transfusion_core.specs.training import Series, TrainResult
from transfusion_core.specs.tuning import Trial


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One init of one model at one train size: what its seeds have in common."""

    model: str
    init: str
    source: str | None
    train_size: int | str

    @property
    def words(self) -> dict[str, Any]:
        """The arm as columns of a row."""
        return {"model": self.model, "init": self.init, "source": self.source, "train_size": self.train_size}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid; no result where it failed, was cancelled or has not ended."""

    arm: Arm
    seed: int
    state: str
    reason: str | None
    result: TrainResult | None

    @property
    def name(self) -> str:
        """The cell in words, for lists of what is missing."""
        source = f" from {self.arm.source}" if self.arm.source else ""
        why = f"{self.state}: {self.reason}" if self.reason else self.state
        return f"{self.arm.model} {self.arm.init}{source}, {self.arm.train_size} images, seed {self.seed} ({why})"

    def curve(self, name: str, split: str) -> Series | None:
        """One of the run's curves."""
        found = [s for s in self.result.series if (s.name, s.split) == (name, split)] if self.result else []
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison of the experiment."""

    role: str
    """`movement`: init and final of one run; `similarity`: the final weights of two runs."""
    model: str
    train_size: int | str
    pair: str
    """Inits of both sides, e.g. `pretrained-random`."""
    a: dict[str, Any]
    b: dict[str, Any]
    state: str
    reason: str | None
    result: ComparisonResult | None

    @property
    def arm(self) -> Arm:
        """The arm of side a."""
        return Arm(model=self.model, init=self.a["init"], source=self.a["source"], train_size=self.train_size)

    @property
    def name(self) -> str:
        """The comparison in words."""
        sides = [f"{side['init']} seed {side['seed']} {side['checkpoint']}" for side in (self.a, self.b)]
        why = f"{self.state}: {self.reason}" if self.reason else self.state
        return f"{self.model}, {self.train_size} images: {sides[0]} with {sides[1]} ({why})"


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The learning rates that were tried for an arm, for all of its train sizes."""

    arm: Arm
    seed: int
    trials: list[Trial]


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything a report is made of."""

    spec: ExperimentSpec
    task: str
    cells: list[Cell]
    pairs: list[Pair]
    tunings: list[Tuning]
    jobs: Sequence[dict[str, Any]]
    """As the report job collected them, for sections that read kinds of their own."""

    @property
    def arms(self) -> list[Arm]:
        """Every arm of the grid, in the order of the spec."""
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def seeds_of(self, arm: Arm) -> list[Cell]:
        """The runs of an arm that have a result."""
        return [cell for cell in self.cells if cell.arm == arm and cell.result]

    def missing_cells(self) -> list[str]:
        """Runs without a result."""
        return [cell.name for cell in self.cells if not cell.result]

    def done(self, role: str) -> list[Pair]:
        """Comparisons of a role that have a result."""
        return [pair for pair in self.pairs if pair.role == role and pair.result]

    def missing_pairs(self, role: str) -> list[str]:
        """Comparisons of a role without a result."""
        return [pair.name for pair in self.pairs if pair.role == role and not pair.result]


def read_study(experiment: dict[str, Any], jobs: Sequence[dict[str, Any]]) -> Study:
    """Read what the report job collected: dicts with kind, labels, state, reason, result."""
    trained = [job for job in jobs if job["kind"] == "train" and job["labels"]["role"] == "cell"]
    compared = [job for job in jobs if job["kind"] == "compare"]
    spec = ExperimentSpec.read({"name": "report", **experiment})
    return Study(
        spec=spec,
        task=_task(jobs, spec.dataset),
        cells=[*map(_cell, trained)],
        pairs=[*map(_pair, compared)],
        tunings=_tunings(jobs),
        jobs=jobs,
    )


def _task(jobs: Sequence[dict[str, Any]], dataset: str) -> str:
    """The dataset's task: its ingest comes first among the jobs."""
    tasks: Iterator[str] = (job["result"]["task"] for job in jobs if job["kind"] == "ingest" and job["result"])
    return next(tasks, "multiclass")


def _cell(job: dict[str, Any]) -> Cell:
    result = TrainResult.model_validate(job["result"]) if job["result"] else None
    return Cell(arm=_arm(job), seed=job["labels"]["seed"], state=job["state"], reason=job["reason"], result=result)


def _arm(job: dict[str, Any]) -> Arm:
    return Arm(**{word: job["labels"][word] for word in ("model", "init", "source", "train_size")})


def _tunings(jobs: Sequence[dict[str, Any]]) -> list[Tuning]:
    found: dict[Arm, Tuning] = {}
    for job in jobs:
        if job["labels"].get("role") == "tuning":
            tuning = found.setdefault(_arm(job), Tuning(arm=_arm(job), seed=job["labels"]["seed"], trials=[]))
            tuning.trials.append(_trial(job))
    return list(found.values())


def _trial(job: dict[str, Any]) -> Trial:
    if job["result"]:
        return Trial.of(job["labels"]["lr"], job["result"])
    return Trial(lr=job["labels"]["lr"], reason=": ".join(filter(None, (job["state"], job["reason"]))))


def _pair(job: dict[str, Any]) -> Pair:
    words = {word: job["labels"][word] for word in ("role", "model", "train_size", "pair", "a", "b")}
    result = ComparisonResult.model_validate(job["result"]) if job["result"] else None
    return Pair(**words, state=job["state"], reason=job["reason"], result=result)
