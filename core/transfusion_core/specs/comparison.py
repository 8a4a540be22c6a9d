"""Comparisons: what is measured between two checkpoints, and the similarity report that answers."""

from dataclasses import field
from operator import not_
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic.dataclasses import dataclass

from transfusion_core.specs.base import Name, Record, Spec

Measure = Literal["cca", "svcca", "pwcca", "cka", "cka_debiased", "procrustes", "regression"]
Protocol = Literal["full", "paper"]
Spatial = Literal["sampled", "averaged"]
Precision = Literal["float64", "float32", "tf32"]
CheckpointName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,128}@(init|final|[0-9]{1,9})$")]

LAYERS_MAX, PAIRS_MAX = 1_000, 10_000
"""Of one comparison, where they are listed; no network of the catalogue has more."""
Layers = Literal["stages"] | Annotated[list[str], Field(max_length=LAYERS_MAX)]
Pairs = Literal["diagonal", "all"] | Annotated[list[tuple[str, str]], Field(min_length=1, max_length=PAIRS_MAX)]

PAPER_CHANNELS, PAPER_SAMPLES = 64, 10_000
"""The protocol of Raghu et al. 2019 for wide layers, as science/similarity draws it."""
MAX_PARTS = 16
"""As many as a comparison has shards of images for its intervals: each part takes whole ones."""
MIN_SAMPLES_PER_DIMENSION = 5
"""Fewer samples than this times the wider side get a warning (science.md, section 5)."""


def _is_none(value: object) -> bool:
    return value is None


def _is_one(count: int) -> bool:
    return count == 1


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
    protocol: Protocol = "full"
    """`paper` compares 64 random channels on about 10,000 samples, of as many images at most, the mean of 5 draws, and
    sets positions itself."""
    spatial: Spatial = "sampled"
    """`sampled` positions are samples; `averaged` makes each image one sample, the mean over its positions."""
    precision: Precision = "float64"
    """What activations are multiplied in; sums are float64 always. Directions below its rounding are cut (see
    `kept_a`); where there are none, float32 moves values by less than 1e-6."""
    nulls: bool = True
    """Give each value its permutation null, its interval over images and the value of the untrained networks."""
    # Left out of the JSON where they say nothing, so that other specs keep the digests that they had.
    spectra: bool = Field(default=False, exclude_if=not_)
    """Give the canonical correlations themselves beside their mean, for CCA, SVCCA and PWCCA."""
    parts: int = Field(default=1, ge=1, le=MAX_PARTS, exclude_if=_is_one)
    """Jobs that share the images of each comparison, each at least 2: several workers see them at once. The values
    are those of a single job, as is their key: a comparison that is there is not made again for other parts."""

    @model_validator(mode="after")
    def _paper_samples_positions(self) -> Self:
        if self.protocol == "paper" and self.spatial == "averaged":
            raise ValueError("the paper's protocol samples positions: expected spatial 'sampled', got 'averaged'")
        if self.protocol == "paper" and (self.images or 0) > PAPER_SAMPLES:
            samples = f"the paper's protocol compares about {PAPER_SAMPLES} samples"
            raise ValueError(f"{samples}: expected no more images, got {self.images}")
        return self


class ComparisonSpec(SimilaritySpec):
    """Two checkpoints `RUN@init | RUN@final | RUN@STEP`, layer by layer."""

    a: CheckpointName
    b: CheckpointName
    dataset: str | None = None
    """Probe images come from this dataset's test split; that of run `a` unless given."""
    layers: Layers = "stages"
    """Stages of the model, or module paths."""
    layers_b: Layers | None = Field(None, exclude_if=not_)
    """Those of `b`, where they are others."""
    pairs: Pairs = "diagonal"
    """`all` compares every layer of `a` with every layer of `b`; `diagonal` needs equally many on both sides; a list
    of `[layer of a, layer of b]` compares those, and takes no `layers`."""
    priority: int = Field(default=10, ge=-100, le=100)

    @model_validator(mode="after")
    def _listed_pairs_name_the_layers(self) -> Self:
        if not isinstance(self.pairs, str) and (self.layers != "stages" or self.layers_b is not None):
            raise ValueError("a list of 'pairs' names the layers itself: expected no 'layers' and no 'layers_b'")
        return self


class ProbeSet(Record):
    """The images on which representations were compared."""

    digest: str
    images: int


# With slots, not models: a report holds hundreds of thousands of these at once, in a quarter of the memory.
@dataclass(slots=True, kw_only=True, config=Record.model_config)
class PairResult:
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
    """The value with the images of the second side in another order: chance, with positions that belong together."""
    null_untrained: float | None = None
    """The value between two fresh random networks of the same models on the same images: what architecture gives."""
    interval: list[float] | None = None
    """95%, over draws of as many other images; in the range of the value and its nulls."""
    warnings: list[str] = field(default_factory=list)
    reverse: float | None = Field(None, exclude_if=_is_none)
    """Of regression, whose value is R^2 of the layer of `a` explained by that of `b`: R^2 the other way."""
    correlations: list[float] | None = Field(None, exclude_if=_is_none)
    """Where `spectra` was asked for: the canonical correlations of CCA, SVCCA or PWCCA, falling, to six digits."""


@dataclass(slots=True, kw_only=True, config=Record.model_config)
class WeightMovement:
    """How far one weight tensor moved between two checkpoints of one run."""

    layer: str
    relative_l2: float | None
    cosine: float | None
    reason: str | None = None


class Between(Record):
    """What a run's checkpoint on the way from `a` to `b` is beside `a`."""

    step: int
    results: list[PairResult]
    weights: list[WeightMovement]


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
    filter_pictures: list[str] = []
    """The first layer's filters of `a` and of `b`, a grid each, as PNG data URLs; where there are such filters."""
    between: list[Between] = []
    """Through a training: its checkpoints between the two, step by step."""


class Comparison(ComparisonResult):
    """A similarity report."""

    id: str
    key: str
    state: str
    reason: Name | str | None = None
    a: str
    b: str
    created_at: str
