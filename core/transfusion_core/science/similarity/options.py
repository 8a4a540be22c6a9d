"""What a comparison is asked to do: which layers of which networks, on which samples, in what precision."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from transfusion_core.science.similarity.products import Gemm
from transfusion_core.science.similarity.samples import Sampling


class Images(Protocol):
    """The probe images: anything with a length whose slices are tensors (n, c, h, w); read once, batch by batch."""

    def __len__(self) -> int:
        """Return the number of images."""

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Return some of them."""


class LayerPair(NamedTuple):
    """A layer of one network and a layer of another, or of the same one; networks are numbered from 0."""

    network_a: int
    layer_a: str
    network_b: int
    layer_b: str

    @property
    def ends(self) -> tuple[tuple[int, str], tuple[int, str]]:
        """The two layers."""
        return (self.network_a, self.layer_a), (self.network_b, self.layer_b)


class Part(NamedTuple):
    """The part of the images that one worker sees: `number` from 0, of `of`; whole shards, in order."""

    number: int = 0
    of: int = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a pass is made.

    `sampling`: which samples an image gives. `batch_size`: images in a forward pass, on which nothing depends.
    `intervals`: keep shards of images apart for them. `permute`: also pair images at random. `gemm`: see `Gemm`.
    `autocast`: a dtype to run the networks in; None runs them in the precision of their weights, whatever surrounds
    the call. `part`: see `Part`. `progress(done, total)` counts batches.
    """

    sampling: Sampling = field(default_factory=Sampling)
    batch_size: int = 64
    intervals: bool = True
    permute: bool = True
    gemm: Gemm = "float64"
    autocast: torch.dtype | None = None
    part: Part = field(default_factory=Part)
    progress: Callable[[int, int], None] | None = None
