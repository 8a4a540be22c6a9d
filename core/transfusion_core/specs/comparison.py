"""Comparisons: what is measured between two checkpoints, and the similarity report that answers."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from transfusion_core.specs.base import Name, Record, Spec

Measure = Literal["cca", "svcca", "pwcca", "cka"]
CheckpointName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}@(init|final|[0-9]{1,9})$")]

MIN_SAMPLES_PER_DIMENSION = 5
"""Fewer samples than this times the wider side get a warning (science.md, section 5)."""


class SimilaritySpec(Spec):
    """How representations are compared, alike in experiments and single comparisons."""

    measures: list[Measure] = Field(default=["cca", "svcca", "cka"], min_length=1)
    images: int | None = Field(default=None, ge=1, le=1_000_000)
    """Probe images, drawn by `seed` from the test split; 1000 or as many as there are unless given."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    positions_per_image: int = Field(default=16, ge=1, le=4096)
    """Budget of spatial positions sampled per image; the same in both networks."""
    variance: float = Field(default=0.99, gt=0, le=1)
    """SVCCA keeps this share of each side's variance."""


class ComparisonSpec(SimilaritySpec):
    """Two checkpoints `RUN@init | RUN@final | RUN@STEP`, layer by layer."""

    a: CheckpointName
    b: CheckpointName
    dataset: str | None = None
    """Probe images come from this dataset's test split; that of run `a` unless given."""
    layers: Literal["stages"] | list[str] = "stages"
    """Stages of the model, or module paths."""
    pairs: Literal["diagonal", "all"] = "diagonal"
    """`all` compares every layer of `a` with every layer of `b`; `diagonal` needs equally many on both sides."""
    priority: int = Field(default=10, ge=-100, le=100)


class ProbeSet(Record):
    """The images on which representations were compared."""

    digest: str
    images: int


class PairResult(Record):
    """One measure between one pair of layers."""

    layer_a: str
    layer_b: str
    measure: str
    value: float | None
    reason: str | None = None
    n: int
    """Samples: images times positions. Positions of one image are not independent."""
    p: int
    q: int
    kept_a: int | None = None
    kept_b: int | None = None
    null_iid: float | None = None
    """What independent noise of this shape would give."""
    null_permutation: float | None = None
    interval: list[float] | None = None
    warnings: list[str] = []


class WeightMovement(Record):
    """How far one weight tensor moved between two checkpoints of one run."""

    layer: str
    relative_l2: float | None
    cosine: float | None
    reason: str | None = None


class ComparisonResult(Record):
    """The similarity report's numbers."""

    probe_set: ProbeSet
    layers_a: list[str]
    layers_b: list[str]
    results: list[PairResult]
    weights: list[WeightMovement] = []
    """Movement of weights, where both checkpoints have the same tensors."""
    filters: list[float | None] = []
    """Correlation of each first-layer filter with itself between the two checkpoints, where shapes match."""


class Comparison(ComparisonResult):
    """A similarity report."""

    id: str
    key: str
    state: str
    reason: Name | str | None = None
    a: str
    b: str
    created_at: str
