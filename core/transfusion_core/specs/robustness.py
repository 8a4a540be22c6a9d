"""What is tried on trained networks beyond testing them: the jobs `probe` and `barrier`, and what they find."""

from typing import Literal

from pydantic import Field

from transfusion_core.specs.base import Key, Record, Spec

Trial = Literal["reinit", "rerand", "knn", "linear_probe", "block_shuffle"]

TRAIN_IMAGES = 2000
"""So many train images, or all where there are fewer, teach probes and settle batch norm."""
NEIGHBOURS = 20
"""Of a kNN probe."""
PROBE_C = 0.1
"""Inverse strength of a linear probe's L2 penalty, as scikit-learn writes it: fixed, so that layers compare."""
BLOCKS = (1, 2, 4, 8, 16)
"""Blocks per side that test images are cut into (Neyshabur et al. 2020, arXiv 2008.11687)."""
MIN_BLOCK_PIXELS = 2
POINTS = 7
"""On the line between two networks, its ends among them."""


class ProbeJob(Spec):
    """What one trained network holds, stage by stage; free of names."""

    run: Key
    dataset: Key
    image_size: int
    images: int
    """Train images that probes learn from, at most; drawn by `seed` from the train split, alike for every run."""
    neighbours: int
    c: float
    blocks: list[int]
    """Blocks per side."""
    seed: int
    stages: bool = Field(True, exclude_if=bool)
    """Whether stages are put back and probed; else only blocks are shuffled."""


class BarrierJob(Spec):
    """What lies between the final weights of two runs; free of names."""

    a: Key
    b: Key
    dataset: Key
    image_size: int
    images: int
    """Train images on which batch norm settles at each point, at most; drawn as for probes."""
    points: int
    seed: int


class Score(Record):
    """The AUROC on the test split of one thing that was tried."""

    trial: Trial
    layer: str | None = None
    stage: int | None = None
    """Place of `layer`, input to output, from 1."""
    blocks: int | None = None
    auroc: float | None = None
    reason: str | None = None


class ProbeResult(Record):
    """All that was tried on one trained network."""

    auroc: float | None = None
    """Of the network as it was trained."""
    reason: str | None = None
    images: int
    """Train images that the probes learned from."""
    scores: list[Score]


class LinePoint(Record):
    """Quality on the test split of the weights (1 - at) a + at b."""

    at: float
    loss: float | None = None
    auroc: float | None = None
    reason: str | None = None


class Barrier(Record):
    """How much worse the line gets than its ends say; None, with the reason, where a point has no number."""

    value: float | None = None
    reason: str | None = None


class BarrierResult(Record):
    """The line between two networks."""

    points: list[LinePoint]
    loss: Barrier
    auroc: Barrier
