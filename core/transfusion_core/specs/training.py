"""Training: the recipe, and what a run answers."""

from typing import Any, Literal

from pydantic import Field

from transfusion_core.specs.base import Record, Spec
from transfusion_core.specs.dataset import StoredObject


class TrainingSpec(Spec):
    """How each cell of the grid is trained."""

    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = Field(default=1e-3, gt=0, le=100)
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
