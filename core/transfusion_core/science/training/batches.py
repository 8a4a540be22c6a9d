"""The images and labels of a run, and how a batch reaches the device. Pixels stay uint8 until then."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from transfusion_core.errors import DataError
from transfusion_core.specs.dataset import Split, Task

CACHED_PIXELS = 224 * 224
"""As many float32 pixels of three channels as the second cache of a core holds, or nearly."""


class BatchIndices(Protocol):
    """The order of the data."""

    def __call__(self, step: int, *, n: int, batch_size: int, seed: int) -> Tensor:
        """Positions 0..n-1 in the train subset that update `step` (from 0) takes, int64 (batch,)."""


class EpochOf(Protocol):
    """The pass over the data that a step belongs to."""

    def __call__(self, step: int, *, n: int, batch_size: int) -> int:
        """From 0."""


class Uniform(Protocol):
    """What augmentation draws."""

    def __call__(self, samples: Tensor, *, purpose: str, epoch: int, seed: int) -> Tensor:
        """A number in [0, 1) for each of the images at rows `samples` (batch,), float64 (batch,)."""


@dataclass(frozen=True)
class Sampling:
    """Data order and augmentation as pure functions of seed and step: the position in a training is one integer."""

    batch_indices: BatchIndices
    epoch_of: EpochOf
    uniform: Uniform


@dataclass(frozen=True, eq=False)
class TrainingData:
    """One run's data: all images, and which of them are for what. The rows lie on the CPU."""

    images: Tensor
    """uint8 (n, c, h, w), c 3, or 1 where all are grey; may be memory-mapped, or on the device already."""
    labels: Tensor
    """Whole numbers (n,), or for multilabel 0, 1, NaN (n, labels)."""
    train: Tensor
    """int64 rows of the train subset, in the order that positions count."""
    val: Tensor
    """int64 rows of the validation split."""
    test: Tensor
    """int64 rows of the test split."""
    mean: Tensor
    """float32 (3,), of pixels scaled to 0..1."""
    std: Tensor
    """float32 (3,), of pixels scaled to 0..1."""
    classes: tuple[str, ...]
    """Class or label names, or grades in order."""
    sampling: Sampling

    def rows(self, split: Split) -> Tensor:
        """The rows of a split."""
        return {"train": self.train, "val": self.val, "test": self.test}[split]


def normalise(images: Tensor, *, mean: Tensor, std: Tensor, out: Tensor | None = None) -> Tensor:
    """(pixel / 255 - mean) / std of images (b, c, h, w), as float32 (b, 3, h, w) in the layout that suits their device.

    c is 3, or 1 for grey images, which stand in all three channels alike. `out`: written to and returned, where given.
    """
    b, _, h, w = images.shape
    scale = (1 / (255 * std.double())).float().to(images.device)
    shift = (-mean.double() / std.double()).float().to(images.device)
    if out is None:
        out = torch.empty((b, 3, h, w), device=images.device, memory_format=layout(images.device))
    if layout(images.device) is torch.contiguous_format:
        return out.copy_(images).mul_(scale[:, None, None]).add_(shift[:, None, None])
    # Over whole rows of pixels, colours in turn: a fifth of the time of broadcasting over three channels; and of so few
    # images at a time that they stay in the processor's cache meanwhile (measured).
    scales, shifts = scale.expand(3).repeat(w), shift.expand(3).repeat(w)
    pixels, normalised = images.permute(0, 2, 3, 1).expand(b, h, w, 3).reshape(b, h, w * 3), out.permute(0, 2, 3, 1)
    some = max(1, CACHED_PIXELS // (h * w))
    for few, rows in zip(torch.split(pixels, some), torch.split(normalised.view(b, h, w * 3), some), strict=True):
        rows.copy_(few).mul_(scales).add_(shifts)
    return out


def layout(device: torch.device) -> torch.memory_format:
    """Channels last on the CPU, where convolutions of the CBR family run about 1.2 times as fast in it (measured)."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def to_device(model: nn.Module, device: torch.device) -> None:
    """Move the model, its convolutions in the layout of their device."""
    model.to(device)
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=layout(device))


def check_data(data: TrainingData, task: Task) -> None:
    """DataError where the parts do not fit together, before the first step can fail on them."""
    n = len(data.images)
    if data.images.dtype != torch.uint8 or data.images.dim() != 4 or data.images.shape[1] not in (1, 3):
        raise DataError(f"expected images uint8 (n, 3 or 1, h, w), got {data.images.dtype} {tuple(data.images.shape)}")
    wanted = (n, len(data.classes)) if task == "multilabel" else (n,)
    if data.labels.shape != wanted:
        raise DataError(f"expected labels of shape {wanted} for a {task} task, got {tuple(data.labels.shape)}")
    if len(data.train) == 0:
        raise DataError("expected at least one image to train on, got none")
    if not (data.std > 0).all():
        raise DataError(f"expected pixels that differ in every channel, got standard deviations {data.std.tolist()}")
    for split in ("train", "val", "test"):
        _check_split(data, task, split)


def _check_split(data: TrainingData, task: Task, split: Split) -> None:
    rows, n = data.rows(split), len(data.images)
    if ((rows < 0) | (rows >= n)).any():
        raise DataError(f"expected rows 0..{n - 1} in the {split} split, got {_span(rows)}")
    labels = data.labels[rows.to(data.labels.device)]
    if task == "multilabel":
        if not (labels.isnan() | (labels == 0) | (labels == 1)).all():
            raise DataError(
                f"expected 0, 1 or NaN as labels in the {split} split, got others, {_span(labels.nan_to_num())}"
            )
    elif ((labels < 0) | (labels >= len(data.classes))).any():
        raise DataError(f"expected labels 0..{len(data.classes) - 1} in the {split} split, got {_span(labels)}")


def _span(values: Tensor) -> str:
    return f"{values.min().item()}..{values.max().item()}"
