"""A trained network with its input contract built in: pixels in 0..1 go in, logits come out."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transfusion_core.errors import TransfusionError

TOLERANCE = 1e-4
"""Of the largest logit: what other runtimes may differ by, in float32."""
_BATCHES = (2, 5)
"""A network that was packed for one number of images fails at the other."""


class ExportFailed(TransfusionError):
    """The network cannot be exported."""

    code = "export"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What the packed network takes and gives, in words that go with it."""

    model: str
    classes: int
    image_size: int
    mean: list[float]
    std: list[float]
    checkpoint_sha256: str
    dataset: str
    """Digest of the dataset that it was trained on."""

    @property
    def channels(self) -> int:
        """Of the images."""
        return len(self.mean)

    def told(self) -> dict[str, Any]:
        """As JSON."""
        size = self.image_size
        return {
            "model": self.model,
            "input": {"name": "images", "shape": ["n", self.channels, size, size], "dtype": "float32", "range": [0, 1]},
            "output": {"name": "logits", "shape": ["n", self.classes], "dtype": "float32"},
            "normalised_inside": {"mean": self.mean, "std": self.std},
            "checkpoint_sha256": self.checkpoint_sha256,
            "dataset": self.dataset,
        }


class Packaged(nn.Module):
    """A network behind its normalisation; in evaluation mode."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, contract: Contract) -> None:
        super().__init__()
        self.network, self.contract = network, contract
        for name, values in (("mean", contract.mean), ("std", contract.std)):
            self.register_buffer(name, torch.tensor(values).reshape(1, -1, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of images (n, channels, size, size) in 0..1."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits

    def examples(self) -> list[Tensor]:
        """Images to try it with: noise, in batches of several sizes."""
        contract = self.contract
        shape = (contract.channels, contract.image_size, contract.image_size)
        random = torch.Generator().manual_seed(0)
        return [torch.rand((count, *shape), generator=random) for count in _BATCHES]


def check_alike(wanted: Tensor, got: Tensor, form: str) -> float:
    """How far apart both are, in shares of the largest logit. ExportFailed beyond the tolerance."""
    if wanted.shape != got.shape:
        raise ExportFailed(f"{form}: expected logits {tuple(wanted.shape)}, got {tuple(got.shape)}")
    apart = float((wanted - got).abs().max() / wanted.abs().max().clamp(min=1e-6))
    if not apart <= TOLERANCE:  # also where it is no number
        raise ExportFailed(f"{form}: its logits are {apart:.2g} of the largest away from the network's own")
    return apart
