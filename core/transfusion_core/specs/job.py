"""Jobs: the unit of work behind everything, and the specs that are hashed into their keys."""

from dataclasses import dataclass, field
from typing import Any, Literal, Self

from transfusion_core.specs.base import Key, Spec
from transfusion_core.specs.comparison import Measure, Precision, Protocol, Spatial
from transfusion_core.specs.experiment import TrainSize
from transfusion_core.specs.init import Init, SourceRef
from transfusion_core.specs.keys import job_key
from transfusion_core.specs.training import TrainingSpec

JobKind = Literal["ingest", "train", "compare", "report"]
State = Literal["waiting", "queued", "running", "succeeded", "failed", "cancelled"]
Reason = Literal["data", "nan", "out_of_memory", "infrastructure", "bug", "needs_failed"]
Queue = Literal["gpu", "cpu"]
QUEUES: dict[JobKind, Queue] = {"ingest": "cpu", "train": "gpu", "compare": "gpu", "report": "cpu"}
"""Which workers run a kind; a machine without a GPU serves both queues with its processor."""


class TrainJob(Spec):
    """One training, free of names: what is hashed."""

    dataset: Key
    """Key of the ingest job."""
    model: str
    init: Init
    source: SourceRef | None = None
    train_size: TrainSize
    seed: int
    image_size: int
    training: TrainingSpec


class CheckpointRef(Spec):
    """A checkpoint of a train job."""

    run: Key
    checkpoint: str
    """`init`, `final` or a step."""


class CompareJob(Spec):
    """One similarity measurement, free of names."""

    a: CheckpointRef
    b: CheckpointRef
    dataset: Key
    image_size: int
    layers: Literal["stages"] | list[str]
    pairs: Literal["diagonal", "all"]
    measures: list[Measure]
    images: int | None
    """Probe images; None for up to 1000, as many as the test split has."""
    seed: int
    positions_per_image: int
    variance: float
    protocol: Protocol = "full"
    spatial: Spatial = "sampled"
    precision: Precision = "float64"
    nulls: bool = True


@dataclass(frozen=True, kw_only=True)
class JobDraft:
    """A job before it is in the database."""

    kind: JobKind
    spec: dict[str, Any]
    needs: tuple[str, ...] = ()
    """Keys of the jobs that must end first."""
    needs_success: bool = True
    """False for reports: they start when their needs have ended, however they ended."""
    labels: dict[str, Any] = field(default_factory=dict)
    """The words that an experiment calls this job by, e.g. model, init, seed; not hashed."""
    key: str = ""

    @classmethod
    def make(cls, kind: JobKind, spec: dict[str, Any], *, needs: tuple[str, ...] = (), **more: Any) -> Self:
        """A draft with its key worked out."""
        needs = tuple(dict.fromkeys(needs))
        return cls(kind=kind, spec=spec, needs=needs, key=job_key(kind, spec, needs), **more)
