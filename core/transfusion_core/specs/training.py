"""Training: the recipe, and what a run answers."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.base import Record, Spec
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.rates import Rate, RateChoice


def _is(default: object) -> Callable[[object], bool]:
    """Left out of the JSON where it says nothing, so that jobs keep the keys that they had."""
    return lambda value: value == default


class Recipe(Spec):
    """How each cell of the grid is trained."""

    optimizer: Literal["adam", "adamw", "sgd", "lamb"] = "adam"
    lr: RateChoice = 1e-3
    """The highest learning rate; what becomes of it is for `schedule` and `warmup_steps`."""
    schedule: Literal["constant", "cosine", "step"] = "constant"
    """`cosine`: falls to 0 at the last step. `step`: times `step_factor` after every `step_every` steps."""
    warmup_steps: int = Field(default=0, ge=0)
    """The learning rate rises to `lr` in equal parts over so many steps; they count among `steps`."""
    step_every: int | None = Field(default=None, ge=1)
    step_factor: float = Field(default=0.1, gt=0, lt=1)
    clip_norm: float | None = Field(default=None, gt=0)
    """Gradients whose joint 2-norm is above this are scaled down to it."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """This share of each label's weight is spread evenly over all answers; reported losses do without."""
    batch_size: int = Field(default=32, ge=2, le=65536)
    steps: int = Field(default=600, ge=1, le=10_000_000)
    eval_every: int = Field(default=50, ge=1)
    """Steps between evaluations; the grid also holds step 0 and the last step."""
    weight_decay: float = Field(default=0.0, ge=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """For `sgd`."""
    augmentation: Literal["none", "flip"] = "flip"
    """`flip`: each image is mirrored left to right with probability one half."""
    checkpoints: int = Field(default=4, ge=0, le=50)
    """Log-spaced checkpoints between the first (`init`) and the last (`final`), which are always kept."""
    precision: Literal["float32", "tf32", "bf16", "fp16"] = Field("float32", exclude_if=_is("float32"))
    """`tf32`: products on CUDA read ten bits; `bf16`, `fp16`: mixed precision. Weights are float32 in all."""
    compile: Literal["never", "measure"] = Field("never", exclude_if=_is("never"))
    """`measure`: by torch.compile, with CUDA graphs too, where a few trial steps say that it pays."""
    deterministic: bool = Field(True, exclude_if=_is(True))
    """False lets CUDA choose faster kernels that round anew each time: a second run ends a little otherwise."""

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        if (self.schedule == "step") != (self.step_every is not None):
            raise PydanticCustomError("schedule", "'step_every' and schedule 'step' go together", {})
        if self.warmup_steps > self.steps:
            told = {"warmup": self.warmup_steps, "steps": self.steps}
            raise PydanticCustomError("schedule", "'warmup_steps' {warmup} is more than the {steps} 'steps'", told)
        return self

    def at(self, lr: float) -> "TrainingSpec":
        """The same with one learning rate."""
        return TrainingSpec.read({**self.model_dump(), "lr": lr})


class TrainingSpec(Recipe):
    """How one network is trained: a recipe whose learning rate is known."""

    lr: Rate = 1e-3
    """The highest learning rate; what becomes of it is for `schedule` and `warmup_steps`."""


class LabelMetrics(Record):
    """The quality of one label's score."""

    label: str
    auroc: float | None = None
    auprc: float | None = None
    n: int
    positives: int
    reason: str | None = None
    """Why a number does not exist, e.g. one class only."""


class Metrics(Record):
    """Quality on one split. For grades `auroc` is that of the referable threshold: grade >= 2 (or >= 1)."""

    auroc: float | None = None
    auprc: float | None = None
    loss: float | None = None
    reason: str | None = None
    labels: list[LabelMetrics] = []
    """One row per class (multiclass), threshold `>=t` (ordinal) or label (multilabel), then `macro`."""


class Checkpoint(Record):
    """Weights kept at a step."""

    step: int
    name: str
    """`init`, `final`, or the step as text."""
    bytes: int
    sha256: str
    key: str


class Series(Record):
    """One curve."""

    name: str
    split: str
    steps: list[int]
    values: list[float | None]


class TrainResult(Record):
    """What a finished run leaves behind."""

    metrics: dict[str, Metrics]
    """By split, `val` and `test`, of the final weights."""
    checkpoints: list[Checkpoint]
    series: list[Series]
    weight_report: StoredObject
    manifest: dict[str, Any]
    steps: int
    images_per_second: float
    parameters: int
