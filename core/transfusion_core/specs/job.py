"""Jobs: the unit of work behind everything, and the specs that are hashed into their keys."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from operator import not_
from typing import Any, Literal, Self

from pydantic import Field

from transfusion_core.specs.base import Key, Record, Spec
from transfusion_core.specs.comparison import Layers, Measure, Pairs, Precision, Protocol, Spatial
from transfusion_core.specs.dataset import StoredObject
from transfusion_core.specs.experiment import TrainSize
from transfusion_core.specs.init import Init, SourceRef
from transfusion_core.specs.keys import job_key
from transfusion_core.specs.training import Recipe

JobKind = Literal["ingest", "pixels", "train", "moments", "compare", "profile", "probe", "barrier", "report"]
State = Literal["waiting", "queued", "running", "succeeded", "failed", "cancelled"]
Reason = Literal["data", "nan", "out_of_memory", "infrastructure", "bug", "needs_failed"]
Queue = Literal["gpu", "cpu"]
QUEUES: dict[JobKind, Queue] = {
    "ingest": "cpu",
    "pixels": "cpu",
    "train": "gpu",
    "moments": "gpu",
    "compare": "gpu",
    "profile": "cpu",
    "probe": "gpu",
    "barrier": "gpu",
    "report": "cpu",
}
"""Which workers run a kind; a machine without a GPU serves both queues with its processor."""
OF_DATASETS: frozenset[JobKind] = frozenset({"ingest", "pixels"})
"""Kinds that make nothing but what a dataset version is: shared under every `cache`, and done again only if lost."""
PARTS: frozenset[JobKind] = frozenset({"moments"})
"""Kinds that each do a part of another job: what they leave is of no more use once that one has succeeded."""
BUNDLES_KEPT = 2
MOST_HALVINGS = 4
"""A batch is taken in 16 parts at most."""


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
    training: Recipe
    # Left out of the JSON where they say nothing, so that other trainings keep the job keys that they had.
    tuning: bool = Field(False, exclude_if=not_)
    """It only tries a learning rate: that the rate is too high is a result, not a failure."""
    tuned_by: list[Key] = Field([], exclude_if=not_)
    """Keys of the tuning runs that decide the learning rate, one for each rate of the grid."""

    def at(self, lr: float) -> Self:
        """The same training at one learning rate."""
        return self.model_copy(update={"training": self.training.at(lr)})

    def trial(self, lr: float) -> Self:
        """The same training as a tuning run of a rate: one that diverges does not start again at another."""
        training = self.training.at(lr).model_copy(update={"retry_on_divergence": False})
        return self.model_copy(update={"training": training, "tuning": True, "tuned_by": []})


class Bundle(Record):
    """Where a training stood after a step, in the store."""

    step: int
    object: StoredObject


class Handover(Record):
    """What the attempts at a job leave for the next one."""

    bundles: list[Bundle] = []
    """To continue from; the newest first, and one more for when that is damaged."""
    halvings: int = 0
    """How often memory ran out, so that the next attempt takes a batch in parts of half the size."""
    outages: int = 0
    """How often in a row, without a bundle in between, what the job needs was away or its worker was lost."""

    def with_bundle(self, bundle: Bundle) -> "tuple[Handover, list[Bundle]]":
        """The handover with a newer bundle, and those that it no longer names."""
        kept = [bundle, *self.bundles]
        return self.model_copy(update={"bundles": kept[:BUNDLES_KEPT], "outages": 0}), kept[BUNDLES_KEPT:]

    def after_outage(self) -> "Handover":
        """The handover of an attempt that ended because something was away, or its worker lost."""
        return self.model_copy(update={"outages": self.outages + 1})

    def micro_batch(self, batch_size: int) -> int:
        """How many images of a batch are taken at a time."""
        return max(1, batch_size >> self.halvings)

    def halved(self, batch_size: int) -> "Handover | None":
        """The handover after memory ran out; None where parts of a batch cannot be smaller (batch norm needs two)."""
        if self.halvings >= MOST_HALVINGS or self.micro_batch(batch_size) < 4:
            return None
        return self.model_copy(update={"halvings": self.halvings + 1})


class Origin(Record):
    """What asked for a job first: what its logs and traces name."""

    request: str | None = None
    experiment: str | None = None
    traceparent: str | None = None


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
    layers: Layers
    layers_b: Layers | None = Field(None, exclude_if=not_)
    pairs: Pairs
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
    spectra: bool = Field(False, exclude_if=not_)
    through: bool = Field(False, exclude_if=not_)
    """Of one run: its checkpoints between `a` and `b` are compared with `a` as well."""


class MomentsJob(CompareJob):
    """A part of a comparison: the sums over some of its images, from which it works out its numbers."""

    part: int
    """From 0."""
    of: int


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
    parts: tuple[str, ...] = ()
    """Those of its `needs` that each do a part of it. They are how it is done, not what: its key is without them."""
    key: str = ""
    seconds: float = 1.0
    """How long it will take, roughly: what it counts in the queue."""

    @property
    def gpus(self) -> int:
        """GPUs that it needs of a worker that has any; others do it with their processor."""
        if self.kind == "train":
            # Not by reading the spec, which takes longer than all else that is done to place a job.
            return int(self.spec.get("training", {}).get("gpus", 1))
        return 1 if QUEUES[self.kind] == "gpu" else 0

    @classmethod
    def make(cls, kind: JobKind, spec: dict[str, Any], *, needs: tuple[str, ...] = (), **more: Any) -> Self:
        """A draft with its key worked out."""
        needs = tuple(dict.fromkeys(needs))
        return cls(kind=kind, spec=spec, needs=needs, key=job_key(kind, spec, needs), **more)

    def split(self, parts: "Sequence[JobDraft]") -> "JobDraft":
        """The same job, put together from parts where there are any."""
        keys = tuple(part.key for part in parts)
        return replace(self, needs=(*self.needs, *keys), parts=keys)


def without_idle_parts(drafts: Sequence[JobDraft], kept: Collection[str]) -> list[JobDraft]:
    """The drafts without the parts of those whose keys are `kept`: those jobs are there, and are not done again."""
    done = [draft for draft in drafts if draft.parts and draft.key in kept]
    if not done:
        return list(drafts)
    idle = {part for draft in done for part in draft.parts}
    return [
        replace(draft, needs=tuple(need for need in draft.needs if need not in idle), parts=())
        if draft.parts and draft.key in kept
        else draft
        for draft in drafts
        if draft.key not in idle
    ]
