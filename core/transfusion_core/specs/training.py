"""Training: the recipe, and what a run answers."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from transfusion_core.specs.augmentation import AugmentationChoice
from transfusion_core.specs.base import Record, Spec
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.rates import Rate, RateChoice

EVERY_STAGE = "all"
"""What `freeze` calls everything but the head."""

Weight = Annotated[float, Field(gt=0, le=1e6)]


def _kind_of_weights(written: object) -> str:
    return "list[number]" if isinstance(written, list) else "literal[balanced]"


# Read as what it looks like, so that one mistake is one fault.
ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("literal[balanced]")]
    | Annotated[list[Weight], Field(max_length=10_000), Tag("list[number]")],
    Discriminator(_kind_of_weights),
]


class EarlyStopping(Spec):
    """When a training ends before its last step, and which weights are then final."""

    patience: int = Field(ge=1)
    """It ends after so many evaluations without a better value; step 0 is none of them."""
    metric: Literal["auroc", "loss"] = "loss"
    """Of the validation split."""
    keep: Literal["best", "last"] = "best"
    """Of which evaluation the final weights are, however the training ends."""


def _is(default: object) -> Callable[[object], bool]:
    """Left out of the JSON where it says nothing, so that jobs keep the keys that they had."""
    return lambda value: value == default


class Recipe(Spec):
    """How each cell of the grid is trained."""

    optimizer: Literal["adam", "adamw", "sgd", "lamb"] = "adam"
    lr: RateChoice = 1e-3
    """The highest learning rate; what becomes of it is for `schedule` and `warmup_steps`."""
    schedule: Literal["constant", "cosine", "step", "plateau"] = "constant"
    """`cosine`: falls to 0 at the last step. `step`: times `step_factor` after every `step_every` steps. `plateau`:
    times `step_factor` whenever `plateau_patience` evaluations brought no lower validation loss."""
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
    augmentation: AugmentationChoice = "flip"
    """`flip`: each image is mirrored left to right with probability one half. An object names more: `flip`, `rotation`,
    `crop`, `jitter`."""
    normalisation: Literal["dataset", "source"] = Field("dataset", exclude_if=_is("dataset"))
    """Whose mean and standard deviation pixels are normalised by: those of the images trained on, or those that the
    weights of the run's source were learnt with. Runs without a source go by their images either way."""
    checkpoints: int = Field(default=4, ge=0, le=50)
    """Log-spaced checkpoints between the first (`init`) and the last (`final`), which are always kept."""
    precision: Literal["float32", "tf32", "bf16", "fp16"] = Field("float32", exclude_if=_is("float32"))
    """`tf32`: products on CUDA read ten bits; `bf16`, `fp16`: mixed precision. Weights are float32 in all."""
    compile: Literal["never", "measure"] = Field("never", exclude_if=_is("never"))
    """`measure`: by torch.compile, with CUDA graphs too, where a few trial steps say that it pays."""
    deterministic: bool = Field(True, exclude_if=_is(True))
    """False lets CUDA choose faster kernels that round anew each time: a second run ends a little otherwise."""
    plateau_patience: int | None = Field(None, ge=1, exclude_if=_is(None))
    """For `plateau`; evaluations during warm-up do not count."""
    ema: float | None = Field(None, gt=0, lt=1, exclude_if=_is(None))
    """What is evaluated and kept is an average of the weights after every update so far: those i updates ago count
    `ema`**i times as much as the present ones."""
    early_stopping: EarlyStopping | None = Field(None, exclude_if=_is(None))
    class_weights: ClassWeights | None = Field(None, exclude_if=_is(None))
    """The weight in the loss of each class, for multilabel of each label's positives. `balanced`: images / (classes x
    images of the class), for multilabel negatives / positives, in the images trained on. Evaluations do without."""
    decay_norms: bool = Field(True, exclude_if=_is(True))
    """Weight decay falls on biases and the parameters of norms too; `false` spares all that has one dimension."""
    layer_decay: float | None = Field(None, gt=0, lt=1, exclude_if=_is(None))
    """The head learns at the full rate, the last stage at this share of it, each stage before at this share of that of
    the next."""
    freeze: str | None = Field(None, min_length=1, max_length=200, exclude_if=_is(None))
    """Stages up to and with this one do not learn; `all` leaves the head alone to learn (a linear probe)."""
    gpus: int = Field(1, ge=1, le=64, exclude_if=_is(1))
    """Processes that train the model together, a GPU and an equal part of each batch for each."""
    sync_bn: bool = Field(False, exclude_if=_is(False))
    """Batch norms take the statistics of whole batches, not of each GPU's part."""
    retry_on_divergence: bool = Field(False, exclude_if=_is(False))
    """A training that diverges starts once again, from the same weights, at a tenth of the learning rate."""

    @property
    def steered_by(self) -> list[Literal["auroc", "loss"]]:
        """What of the validation split steers the training."""
        plateau: list[Literal["auroc", "loss"]] = ["loss"] if self.schedule == "plateau" else []
        return [*plateau, self.early_stopping.metric] if self.early_stopping else plateau

    @model_validator(mode="after")
    def _check_gpus(self) -> Self:
        told = {"batch": self.batch_size, "gpus": self.gpus}
        if self.batch_size % self.gpus or self.batch_size < 2 * self.gpus:
            raise PydanticCustomError("gpus", "'batch_size' {batch} is not {gpus} parts of two images or more", told)
        if self.sync_bn and self.gpus == 1:
            raise PydanticCustomError("gpus", "'sync_bn' is for trainings on more than one of 'gpus'", {})
        if self.compile != "never" and self.gpus > 1:
            raise PydanticCustomError("gpus", "'compile' is for trainings on one of 'gpus'", {})
        return self

    @model_validator(mode="after")
    def _check_schedule(self) -> Self:
        for name, needed in (("step", "step_every"), ("plateau", "plateau_patience")):
            if (self.schedule == name) != (getattr(self, needed) is not None):
                raise PydanticCustomError("schedule", f"'{needed}' and schedule '{name}' go together", {})
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
    top1: float | None = Field(None, exclude_if=_is(None))
    """For multiclass: the share of images whose own class has the highest score; a tie does not count."""
    top5: float | None = Field(None, exclude_if=_is(None))
    """The same among the five highest, where there are more classes than that."""


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


class FilterPicture(Record):
    """The first layer's filters in a checkpoint."""

    checkpoint: str
    picture: str
    """A grid of them, as the data URL of a PNG: each stretched from black to white by itself, 256 at most."""


class Filters(Record):
    """The filters of a network's first convolution, before and after its training."""

    layer: str
    shape: list[int]
    """How many, channels, height, width."""
    pictures: list[FilterPicture]
    """Of `init` and of `final`."""
    correlations: list[float | None]
    """Of each filter with itself before, in -1..1; null for one that is flat."""


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
    predictions: StoredObject | None = None
    """What the final weights say of each test image, as safetensors; None of runs made before these were kept."""
    filters: StoredObject | None = None
    """`Filters` as JSON; None where the network begins with no convolution, and of runs made before these were kept."""
