"""Experiments: the grid a user asks for."""

import math
from collections.abc import Iterable
from operator import not_
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import STORED, Name, Record, Spec
from transfusion_core.specs.comparison import CheckpointName, SimilaritySpec
from transfusion_core.specs.demand import Demand
from transfusion_core.specs.fault import not_among
from transfusion_core.specs.init import InitSpec
from transfusion_core.specs.model import catalogue
from transfusion_core.specs.quota import Account
from transfusion_core.specs.training import Recipe, TrainingSpec

Section = Literal[
    "dataset",
    "performance",
    "small_data",
    "similarity",
    "movement",
    "reuse",
    "convergence",
    "transfusion",
    "robustness",
    "verdict",
]
DatasetRef = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}(@[1-9][0-9]{0,8})?$")]
"""`name@version`, or `name` for the newest version."""


def _known_model(name: str, info: ValidationInfo) -> str:
    if info.context != STORED and name not in catalogue():
        raise not_among(name, sorted(catalogue()), "model")
    return name


def _train_size(size: object) -> object:
    if size == "all" or (isinstance(size, int) and not isinstance(size, bool) and size >= 1):
        return size
    raise PydanticCustomError("train_size", "expected 'all' or a number of images of 1 or more", {})


def largest(train_sizes: Iterable[Any]) -> Any:
    """The largest of some train sizes, `all` before every number."""
    return max(train_sizes, key=lambda size: math.inf if size == "all" else size)


ExperimentName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ModelName = Annotated[str, AfterValidator(_known_model)]
TrainSize = Annotated[
    Any,
    BeforeValidator(_train_size),
    WithJsonSchema({"anyOf": [{"const": "all"}, {"type": "integer", "minimum": 1}]}),
]


class PretrainSpec(Spec):
    """The platform trains the source itself: one source run per model."""

    dataset: DatasetRef
    training: TrainingSpec = TrainingSpec()
    seed: int = Field(default=1000, ge=0, lt=2**31)
    """No run of an experiment has this seed unless asked to: a source that began as some random run did would be more
    alike to that one than to others."""


class SourceSpec(Spec):
    """Where pretrained weights come from: exactly one of the four."""

    pretrain: PretrainSpec | None = None
    timm: str | None = Field(default=None, max_length=200)
    """`default`, or a tag of the model's published weights."""
    weights: Name | None = None
    """Name of a registered weight file."""
    run: CheckpointName | None = None
    """A run's checkpoint: `RUN@final`."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "one_of", "expected exactly one of pretrain, timm, weights, run; got {n}", {"n": len(given)}
            )
        return self


class Grid(Spec):
    """Models x inits x train sizes x seeds: a part of an experiment."""

    models: list[ModelName] = Field(min_length=1, max_length=100)
    inits: list[InitSpec] = Field(min_length=1, max_length=50)
    train_sizes: list[TrainSize] = Field(min_length=1, max_length=20)
    seeds: int = Field(ge=1, le=1000)

    def resolved(self) -> Self:
        """The same grid with the defaults of its inits filled in."""
        return self.model_copy(update={"inits": [init.resolved() for init in self.inits]})


class ExperimentSpec(Spec):
    """A grid of models x inits x train sizes x seeds on one dataset, and the report sections wanted.

    It asks for 10,000 runs and 100,000 comparisons of them at most, each part of a comparison counted.
    """

    name: ExperimentName
    dataset: DatasetRef
    models: list[ModelName] = Field(min_length=1, max_length=100)
    sources: dict[Name, SourceSpec] = Field(default={}, max_length=20)
    inits: list[InitSpec] = Field(default=[InitSpec(kind="random")], min_length=1, max_length=50)
    seeds: int = Field(default=3, ge=1, le=1000)
    """Repetitions: seeds 0 .. n-1. The same seed means the same data order for every init."""
    train_sizes: list[TrainSize] = Field(default=["all"], min_length=1, max_length=20)
    """Images in the train split, `all` or numbers; smaller subsets lie inside larger ones."""
    grids: list[Grid] | None = Field(None, min_length=1, max_length=100, exclude_if=not_)
    """Only what is in one of these is trained, where they are given; `models`, `inits`, `train_sizes` and `seeds` then
    name all that is in them."""
    image_size: int = Field(default=64, ge=8, le=2048)
    """Side in pixels to which images are resized."""
    training: Recipe = Recipe()
    sections: list[Section] = Field(
        default=["dataset", "performance", "similarity", "movement", "reuse", "convergence", "verdict"], min_length=1
    )
    similarity: SimilaritySpec = SimilaritySpec()
    cache: Literal["use", "refresh", "off"] = "use"
    """`use` shares finished work of the same key; `refresh` computes anew and shares; `off` keeps apart."""
    priority: int = Field(default=0, ge=-100, le=100)

    @property
    def parts(self) -> list[Self]:
        """The spec of each of its grids; itself where it has none."""
        if self.grids is None:
            return [self]
        words = [{name: getattr(grid, name) for name in Grid.model_fields} for grid in self.grids]
        return [self.model_copy(update={"grids": None, **each}) for each in words]


class Experiment(Record):
    """An experiment as the service answers it."""

    id: str
    name: str
    state: str
    spec: dict[str, Any]
    """The resolved spec: defaults filled in, versions pinned."""
    digest: str
    counts: dict[str, int]
    """Jobs by state."""
    progress: float
    eta_seconds: float | None = None
    created_at: str
    finished_at: str | None = None
    parent: str | None = None


class PlannedRun(Record):
    """One cell of the grid, before it exists."""

    model: str
    init: str
    source: str | None
    train_size: int | str
    seed: int
    key: str
    exists: bool


class Plan(Record):
    """What an experiment would do; nothing is created."""

    runs: list[PlannedRun]
    jobs_by_kind: dict[str, int]
    """Jobs that would be made or shared, by kind."""
    new_jobs: int
    """Of these, those that do not exist yet."""
    tuning_runs: int = 0
    """Of the runs to train or share, those that only find out a learning rate; they are not among `runs`."""
    images_to_train: int
    estimated_seconds: float
    """Of all new jobs, one after the other on a small CPU; rough."""
    estimated_bytes: int
    demands: list[Demand] = []
    """What the new jobs need, by queue."""
    account: Account | None = None
    """The quota of the key that asks, where it has one, and what is used of it."""
    warnings: list[str]
    digest: str
    spec: dict[str, Any]


class Run(Record):
    """One training."""

    id: str
    key: str
    model: str
    init: str
    source: str | None = None
    train_size: int | str
    seed: int
    lr: float | None = None
    """Of a tuning run: the learning rate that it tries."""
    dataset: str
    state: str
    attempt: int
    reason: str | None = None
    error: str | None = None
    progress: dict[str, Any] = {}
    metrics: dict[str, Any] | None = None
    weight_report: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    checkpoints: list[dict[str, Any]] = []
    created_at: str
    finished_at: str | None = None
