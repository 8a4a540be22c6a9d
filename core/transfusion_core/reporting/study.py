"""An experiment's results as the sections read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transfusion_core.reporting.predictions import Predictions
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

    @property
    def random(self) -> "Arm":
        """The arm of the same model and train size that starts from nothing."""
        return Arm(model=self.model, init="random", source=None, train_size=self.train_size)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of the grid; no result where it failed, was cancelled or has not ended."""

    arm: Arm
    seed: int
    state: str
    reason: str | None
    result: TrainResult | None
    predictions: Predictions | None = None
    """Of the test images; None where the run kept none."""

    @property
    def name(self) -> str:
        """The cell in words, for lists of what is missing."""
        source = f" from {self.arm.source}" if self.arm.source else ""
        why = f"{self.state}: {self.reason}" if self.reason else self.state
        return f"{self.arm.model} {self.arm.init}{source}, {self.arm.train_size} images, seed {self.seed} ({why})"

    @property
    def auroc(self) -> float | None:
        """The headline AUROC of the final weights on the test split."""
        return self.result.metrics["test"].auroc if self.result else None

    def curve(self, name: str, split: str) -> Series | None:
        """One of the run's curves."""
        found = [s for s in self.result.series if (s.name, s.split) == (name, split)] if self.result else []
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One comparison of the experiment."""

    role: str
    """`movement`: init and final of one run; `similarity`: the final weights of two runs; `start`: their first;
    `layers`: the final ones again, every layer with every other."""
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
class SourceRun:
    """A run that others took their weights from, trained by the experiment itself."""

    model: str
    source: str
    """The names that the spec calls its weights by."""
    seed: int
    state: str
    reason: str | None
    result: TrainResult | None
    task: str | None
    classes: int
    """Of the images that it was trained on; None and 0 where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Everything a report is made of."""

    spec: ExperimentSpec
    task: str
    cells: list[Cell]
    pairs: list[Pair]
    tunings: list[Tuning]
    sources: list[SourceRun]
    train_images: int | None
    """In the whole train split; None where its ingest has no result."""
    jobs: Sequence[dict[str, Any]]
    """As the report job collected them, for sections that read kinds of their own."""

    @property
    def arms(self) -> list[Arm]:
        """Every arm of the grid, in the order of the spec."""
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def seeds_of(self, arm: Arm) -> list[Cell]:
        """The runs of an arm that have a result."""
        return [cell for cell in self.cells if cell.arm == arm and cell.result]

    def paired_with_random(self, arm: Arm) -> list[tuple[Cell, Cell]]:
        """The runs of an arm that have a result, each with random's at the same seed, where that has one too."""
        randoms = {cell.seed: cell for cell in self.seeds_of(arm.random)}
        return [(cell, randoms[cell.seed]) for cell in self.seeds_of(arm) if cell.seed in randoms]

    def images_of(self, train_size: int | str) -> int | None:
        """A train size in images."""
        return train_size if isinstance(train_size, int) else self.train_images

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
    """Read what the report job collected: dicts with kind, labels, state, reason, result, maybe predictions."""
    trained = [job for job in jobs if job["kind"] == "train" and job["labels"]["role"] == "cell"]
    compared = [job for job in jobs if job["kind"] == "compare"]
    spec = ExperimentSpec.read({"name": "report", **experiment})
    return Study(
        spec=spec,
        task=_ingested(jobs).get("task", "multiclass"),
        cells=[*map(_cell, trained)],
        pairs=[*map(_pair, compared)],
        tunings=_tunings(jobs),
        sources=[_source(job, spec, jobs) for job in jobs if job["labels"].get("role") == "source"],
        train_images=_ingested(jobs).get("splits", {}).get("train"),
        jobs=jobs,
    )


def _ingested(jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the ingest of the experiment's dataset found: it comes first among the jobs."""
    found = (job["result"] for job in jobs if job["kind"] == "ingest")
    return next(found, None) or {}


def _cell(job: dict[str, Any]) -> Cell:
    result = TrainResult.model_validate(job["result"]) if job["result"] else None
    ended = {"state": job["state"], "reason": job["reason"], "result": result}
    return Cell(arm=_arm(job), seed=job["labels"]["seed"], predictions=job.get("predictions"), **ended)


def _source(job: dict[str, Any], spec: ExperimentSpec, jobs: Sequence[dict[str, Any]]) -> SourceRun:
    labels = job["labels"]
    trained = {name: source.pretrain for name, source in spec.sources.items() if source.pretrain}
    asked = (labels["dataset"], labels["seed"])
    names = [name for name, pretrain in trained.items() if (pretrain.dataset, pretrain.seed) == asked]
    result = TrainResult.model_validate(job["result"]) if job["result"] else None
    words = {"model": labels["model"], "source": ", ".join(names), "seed": labels["seed"]}
    seen = _seen_by(result, jobs)
    words |= {"task": seen.get("task"), "classes": len(seen.get("classes", []))}
    return SourceRun(**words, state=job["state"], reason=job["reason"], result=result)


def _seen_by(result: TrainResult | None, jobs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the ingest of the images that a run was trained on found."""
    digest = result.manifest.get("dataset_digest") if result else None
    found = [job["result"] for job in jobs if job["kind"] == "ingest" and job["result"]]
    return next((each for each in found if each["digest"] == digest), {})


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
